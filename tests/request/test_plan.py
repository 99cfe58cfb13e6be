"""Decisions that need no model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptengine import PromptSyntaxError, Registry, RequestError, UnknownNetworkError, parse
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.request.plan import Plan, append_default_lora, look_up, make_plan
from tests.model_folders import write_safetensors


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name in ("ink", "style/wash"):
        path = tmp_path / "hypernetworks" / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_safetensors(tmp_path / "Lora" / "line.safetensors", {"ss_output_name": "Thin Line"})
    write_safetensors(tmp_path / "Lora" / "old" / "wash.safetensors", None)
    return Registry.open(tmp_path)


def plan(registry: Registry, prompt: str, negative: str = "", **options: object) -> Plan:
    positive = ScheduledPrompt(parse(prompt), 10)
    return make_plan(positive, parse(negative, negative=True), registry, **options)  # type: ignore[arg-type]


def test_uses_keep_order_multiplier_and_place(registry: Registry) -> None:
    uses = plan(
        registry, "<hypernet:wash:-0.5>a<hypernet:ink><hypernet:style/wash:1e-1:9>"
    ).networks
    assert [(use.entry.name, use.multiplier) for use in uses] == [
        ("wash", -0.5),
        ("ink", 1.0),
        ("wash", 0.1),
    ]
    assert [use.span.start for use in uses] == [0, 21, 35]


@pytest.mark.parametrize(("text", "value"), [("1_0", 10.0), (" .5 ", 0.5), ("-0", 0.0), ("٣", 3.0)])
def test_multipliers_are_what_python_reads(registry: Registry, text: str, value: float) -> None:
    assert plan(registry, f"<hypernet:ink:{text}>").networks[0].multiplier == value


@pytest.mark.parametrize(
    ("tag", "reason", "error"),
    [
        ("<hypernet:inkk:1>", "not found", UnknownNetworkError),
        ("<hypernet: ink:1>", "not found", UnknownNetworkError),
        ("<hypernet:INK:1>", "not found", UnknownNetworkError),
        ("<hypernet:../hypernetworks/ink:1>", "not found", UnknownNetworkError),
        ("<hypernet:ink:x>", "multiplier 'x' is not a finite number", PromptSyntaxError),
        ("<hypernet:ink:nan>", "multiplier 'nan' is not a finite number", PromptSyntaxError),
        ("<other:ink:1>", "tags of kind 'other' are not applied", PromptSyntaxError),
        ("<lora:inkk:1>", "not found", UnknownNetworkError),
        ("<lora:Line:1>", "not found", UnknownNetworkError),
        ("<lora:line:x>", "te 'x' is not a finite number", PromptSyntaxError),
        ("<lora:line:1:inf>", "unet 'inf' is not a finite number", PromptSyntaxError),
        ("<lora:line:1:1:2.5>", "dyn '2.5' is not a whole number", PromptSyntaxError),
        ("<lora:line:te=>", "te '' is not a finite number", PromptSyntaxError),
        ("<lora:line:dyn=many>", "dyn 'many' is not a whole number", PromptSyntaxError),
        ("<lora:a=b>", "'a=b' is no name, because of its '='", PromptSyntaxError),
    ],
)
def test_what_cannot_be_applied_follows_the_policy(
    registry: Registry, tag: str, reason: str, error: type[Exception]
) -> None:
    prompt = f"a {tag}<hypernet:ink:0.5>"
    warned = plan(registry, prompt)
    assert [skipped.reason for skipped in warned.skipped] == [reason]
    assert [use.multiplier for use in warned.networks] == [0.5]
    assert warned.of("lora") == ()
    (warning,) = [d for d in warned.diagnostics if d.hint == "it is not applied"]
    assert warning.span == warned.skipped[0].tag.span
    ignored = plan(registry, prompt, policy="ignore")
    assert ignored.skipped == warned.skipped
    assert not [d for d in ignored.diagnostics if d.hint == "it is not applied"]
    with pytest.raises(error, match="at column 3"):
        plan(registry, prompt, policy="strict")


def test_texts_can_be_read_again(registry: Registry) -> None:
    texts = plan(registry, "a [b:c:5] AND d", "e").texts
    assert list(texts) == list(texts) == ["a b", "a c", " d", "e"]


def test_schedules_are_planned_for_every_part(registry: Registry) -> None:
    made = plan(registry, "[a:b:0.5] AND c:0.5", "[d:e:2] AND f:2")
    assert [part.weight for part in made.positive] == [1.0, 0.5]
    assert [s.until_step for s in made.positive[0].schedule.segments] == [5, 10]
    assert [s.until_step for s in made.negative.segments] == [2, 10]
    assert made.negative.segments[0].text == "d AND f:2"


def test_a_network_named_twice_is_said_once(registry: Registry) -> None:
    made = plan(registry, "<hypernet:ink:1><hypernet:wash:1><hypernet:ink:2><hypernet:ink:3>")
    (warning,) = made.diagnostics
    assert "'ink' is named 3 times" in warning.message
    assert len(made.networks) == 4


def test_a_tag_in_the_negative_prompt_is_words(registry: Registry) -> None:
    made = plan(registry, "a", "b <hypernet:ink:1>")
    assert made.networks == ()
    assert made.negative.segments[0].text == "b <hypernet:ink:1>"
    assert [d.severity for d in made.diagnostics] == ["warning"]


@pytest.mark.parametrize(
    ("tag", "text", "unet", "ranks"),
    [
        ("<lora:line>", 1.0, 1.0, None),
        ("<lora:line:0.5>", 0.5, 0.5, None),
        ("<lora:line:0.5:-0.8>", 0.5, -0.8, None),
        ("<lora:line:1:1:4>", 1.0, 1.0, 4),
        ("<lyco:line:0:1>", 0.0, 1.0, None),
        ("<lora:line:te=0.6>", 0.6, 0.6, None),
        ("<lora:line:unet=0.4>", 1.0, 0.4, None),
        ("<lora:line:0.9:unet=0.3:te=0.7>", 0.7, 0.3, None),
        ("<lora:te=0.5:line:0.2:dyn=3>", 0.5, 0.5, 3),
        ("<lora:line:dyn=3:0.2:0.1>", 0.2, 0.1, 3),
        ("<lora:line:1e-1: .5 :1_0>", 0.1, 0.5, 10),
        ("<lora:line:te=1:te=2>", 2.0, 2.0, None),
        ("<lora:line:1:1:99999999999999999999>", 1.0, 1.0, 1 << 31),
    ],
)
def test_a_loras_numbers_by_place_and_by_name(
    registry: Registry, tag: str, text: float, unet: float, ranks: int | None
) -> None:
    made = plan(registry, tag)
    (use,) = made.of("lora")
    assert (use.name, use.multiplier, use.unet_multiplier, use.extra) == ("line", text, unet, ranks)
    assert made.of("hypernet") == made.skipped == made.diagnostics == ()


def test_a_lora_is_found_by_stem_path_and_alias(registry: Registry) -> None:
    made = plan(registry, "<lora:wash><hypernet:ink:1><lora:old/wash><lora:Thin Line:0.5>")
    assert [use.name for use in made.of("lora")] == ["wash", "old/wash", "Thin Line"]
    assert [use.entry.name for use in made.of("lora")] == ["wash", "wash", "line"]
    assert [use.entry.name for use in made.of("hypernet")] == ["ink"]
    (warning,) = made.diagnostics
    assert "LoRA 'wash' is named 2 times" in warning.message


def extended(registry: Registry, prompt: str) -> Plan:
    positive = ScheduledPrompt(parse(prompt, dialect="extended"), 10)
    return make_plan(positive, parse("", negative=True), registry)


def over_calls(
    registry: Registry, tag: str, *, later: bool = False
) -> tuple[list[float], list[float]]:
    """The multipliers of text encoder and UNet at the calls 0 to 10, of a first or a second pass."""
    prompt = ScheduledPrompt(parse(tag, dialect="extended"), 10, 10 if later else None)
    made = make_plan(prompt, parse("", negative=True), registry)
    (use,) = made.of("lora")
    assert made.diagnostics == ()
    calls = range(11)
    text, unet = [use.text_at(call) for call in calls], [use.at(call) for call in calls]
    assert (use.multiplier, use.unet_multiplier) == (max(text, key=abs), max(unet, key=abs))
    return text, unet


RISING = [call / 10 for call in range(11)]
LORACTL = {
    # From the extension's documentation and its tests.
    "1.0": ([1] * 11, [1] * 11, [1] * 11, [1] * 11),
    "0@0,1@1": (RISING, RISING, RISING, RISING),
    "0.5@0,1@1:hr=0.6": (*[[0.5 + rise / 2 for rise in RISING]] * 2, [0.6] * 11, [0.6] * 11),
    "te=0@0,1@1": (RISING, RISING, RISING, RISING),
    "unet=0@0,1@1": ([1] * 11, RISING, [1] * 11, RISING),
    "unet=0@0,1@1:hrte=0.5": ([1] * 11, RISING, [0.5] * 11, RISING),
    "hr=0.6:hrte=0.5": ([1] * 11, [1] * 11, [0.5] * 11, [0.6] * 11),
    "0@0,1@1;hr=1@0,0@1": (RISING, RISING, RISING[::-1], RISING[::-1]),
    "te=1:unet=0@0,1@1": ([1] * 11, RISING, [1] * 11, RISING),
    "te=0@0,1@1:unet=1": (RISING, [1] * 11, RISING, [1] * 11),
    "1:0@5,1@6": ([1] * 11, [0] * 6 + [1] * 5, [1] * 11, [0] * 6 + [1] * 5),
    "0.75@0;0.5@3;1@6": [[0.75, 2 / 3, 7 / 12, 0.5, 2 / 3, 5 / 6, *[1] * 5]] * 4,
    "0.5@5,1.0@10": [[0.5] * 6 + [0.6, 0.7, 0.8, 0.9, 1]] * 4,
    "0.5@3,1@6,1@0": [[1, 5 / 6, 2 / 3, 0.5, 2 / 3, 5 / 6, *[1] * 5]] * 4,
    "0.25@0.5,1@1": [[0.25] * 6 + [0.4, 0.55, 0.7, 0.85, 1]] * 4,
}


@pytest.mark.parametrize("rest", LORACTL)
def test_what_loractl_documents_is_read_so(registry: Registry, rest: str) -> None:
    first = over_calls(registry, f"<lora:line:{rest}>")
    later = over_calls(registry, f"<lora:line:{rest}>", later=True)
    for found, expected in zip((*first, *later), LORACTL[rest], strict=True):
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tag", "text", "unet"),
    [
        ("<lora:line:0.5:start=3>", [0] * 3 + [0.5] * 8, [0] * 3 + [0.5] * 8),
        ("<lora:line:1:stop=0.5>", [1] * 5 + [0] * 6, [1] * 5 + [0] * 6),
        ("<lora:line:1:1:start=3:stop=5>", [1] * 11, [0] * 3 + [1] * 2 + [0] * 6),
        ("<lora:line:te=0.5:step=2-4>", [0.5] * 11, [0] * 2 + [0.5] * 2 + [0] * 7),
        ("<lora:line:0@0,1@1:step=0.2-8>", *[[0, 0, *RISING[2:8], 0, 0, 0]] * 2),
        ("[<lora:line:1>:4]", *[[0] * 5 + [1] * 6] * 2),
    ],
)
def test_a_lora_holds_for_some_steps(
    registry: Registry, tag: str, text: list[float], unet: list[float]
) -> None:
    assert over_calls(registry, tag) == (pytest.approx(text), pytest.approx(unet))


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("<lora:line:0@0,x@1>", "te '0@0,x@1' is not a finite number"),
        ("<lora:line:1:hr=nan>", "hr 'nan' is not a finite number"),
        ("<lora:line:1:start=-1>", "start '-1' is not a step"),
        ("<lora:line:1:step=4>", "step '4' is not two steps such as 2-10"),
        ("<lora:line:1:step=2-x>", "stop 'x' is not a step"),
    ],
)
def test_what_cannot_be_read_over_the_steps_is_told(
    registry: Registry, tag: str, problem: str
) -> None:
    made = extended(registry, tag)
    assert made.of("lora") == ()
    assert problem in made.diagnostics[0].message


def test_webui_knows_no_steps(registry: Registry) -> None:
    made = plan(registry, "<lora:line:1:start=3>")
    assert made.of("lora")[0].multipliers == ()
    assert made.diagnostics[0].message.startswith("'start=3' means nothing")
    assert plan(registry, "<lora:line:0@0,1@1>").of("lora") == ()


def test_a_lora_in_brackets_that_schedule_nothing_is_applied(registry: Registry) -> None:
    assert [use.multiplier for use in extended(registry, "[a <lora:line:0.5>, b").networks] == [0.5]
    assert [use.multiplier for use in extended(registry, "[a <lora:line:0.5>]").networks] == [0.5]


def test_items_without_meaning_are_said(registry: Registry) -> None:
    made = plan(registry, "<lora:line:1:1:2:extra:w=MIDD>")
    assert [d.message.split()[0] for d in made.diagnostics] == ["'extra'", "'w=MIDD'"]
    assert len(made.of("lora")) == 1


@settings(deadline=None)
@given(
    items=st.lists(
        st.text(st.sampled_from("te=unidyl0123456789.-_ einf"), max_size=6)
        | st.sampled_from(["line", "te=0.5", "unet=-1", "dyn=3", "dyn=", "=", "a=b=c", "1"]),
        max_size=6,
    )
)
def test_any_items_make_a_use_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, items: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "models-of-any-items"
    if not folder.exists():
        write_safetensors(folder / "Lora" / "line.safetensors", {})
    prompt = f"<lora:{':'.join(items)}>"
    made = plan(Registry.open(folder), prompt)
    assert len(made.of("lora")) + len(made.skipped) == len(parse(prompt).tags)
    for use in made.of("lora"):
        assert use.name == "line" and math.isfinite(use.multiplier)
        assert use.unet_multiplier is not None and math.isfinite(use.unet_multiplier)
    append_default_lora(prompt, "line")


@pytest.mark.parametrize(
    ("prompt", "name", "expected"),
    [
        ("a", "line", "a<lora:line:0.6>"),
        ("a # note", "line", "a # note\n<lora:line:0.6>"),
        ("a<lora:other:1>", "line", "a<lora:other:1><lora:line:0.6>"),
        ("a<lora:line:0.1> b", "line", "a<lora:line:0.1> b"),
        ("a<lyco:te=1:line>", "line", "a<lyco:te=1:line>"),
        ("a<hypernet:line:1>", "line", "a<hypernet:line:1><lora:line:0.6>"),
        ("a<lora:x=y>", "line", "a<lora:x=y><lora:line:0.6>"),
        ("a", "None", "a"),
        ("a", "", "a"),
    ],
)
def test_a_default_lora_is_appended_unless_it_is_named(
    prompt: str, name: str, expected: str
) -> None:
    assert append_default_lora(prompt, name, 0.6) == expected


@pytest.mark.parametrize("name", ["a:b", "a>b", "a=b", "a\nb"])
def test_a_default_lora_needs_a_name_that_a_tag_can_hold(name: str) -> None:
    with pytest.raises(RequestError, match="no name of a LoRA"):
        append_default_lora("a", name)


@pytest.mark.parametrize(
    ("text", "after", "label"),
    [
        ("a <hypernet:inkk:1> b", "a <hypernet:ink:1> b", "use 'ink'"),
        ("<hypernet:wsh>", "<hypernet:wash>", "use 'wash'"),
        ("<lora:Thin Lin:0.5:0.2>", "<lora:Thin Line:0.5:0.2>", "use 'Thin Line'"),
        ("<hypernet:ink:0,8> b", "<hypernet:ink:0.8> b", "write 0.8"),
        ("a <hypernet:ink> <hypernet:ink> b", "a <hypernet:ink> b", "take this one out"),
    ],
)
def test_a_mend_leaves_nothing_to_tell(
    registry: Registry, text: str, after: str, label: str
) -> None:
    (diagnostic,) = plan(registry, text).diagnostics
    remedy = diagnostic.remedy
    assert remedy is not None
    assert remedy.label == label
    assert text[: remedy.span.start] + remedy.text + text[remedy.span.end :] == after
    assert plan(registry, after).diagnostics == ()


@pytest.mark.parametrize(
    "text",
    ["<hypernet:zzzzzz>", "<hypernet:ink:x>", "<lora:line:x:0,5>", "<hypernet:in#c\nkk:1>"],
)
def test_where_no_mend_is_the_obvious_one_there_is_none(registry: Registry, text: str) -> None:
    assert [
        one.remedy for one in plan(registry, text).diagnostics if one.message[:7] != "'#c' is"
    ] == [None]


@pytest.mark.parametrize(
    "prompt",
    ["a <hypernet:ink:1><hypernet:inkk:1><hypernet:ink:x><other:a>", "a", "[<lora:line:1>:2]"],
)
@pytest.mark.parametrize("dialect", ["webui", "extended"])
def test_looking_up_decides_the_same_as_a_plan(
    registry: Registry, prompt: str, dialect: str
) -> None:
    parsed = parse(prompt, dialect=dialect)
    made = make_plan(ScheduledPrompt(parsed, 10), parse("", negative=True), registry)
    found = look_up(ScheduledPrompt(parsed, 10), registry)
    assert (found.networks, found.skipped) == (made.networks, made.skipped)
    assert (*parsed.diagnostics, *found.diagnostics) == made.diagnostics


def test_looking_up_weighs_no_text(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a text was weighed")

    monkeypatch.setattr("promptengine.prompt.scheduled.schedule", never)
    prompt = ScheduledPrompt(parse("((a)) <hypernet:ink:1@0,0@1> [b|c]", dialect="extended"), 4)
    (use,) = look_up(prompt, registry).networks
    assert use.multipliers[0] == 1
