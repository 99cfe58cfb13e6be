"""Prompts from a file: lines as prompts and as flags, and lines that are neither."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.prompts_from_file import MOST_LINES, PROMPTS_FROM_FILE
from promptengine.scripts.script import ScriptContext, ScriptStep
from promptengine.scripts.table import named_arguments

CONTEXT = ScriptContext(Registry({}), 64)


def steps(text: str, context: ScriptContext = CONTEXT, **fields: Any) -> list[ScriptStep]:
    own = {name: fields.pop(name) for name in ("iterate_seed", "same_seed") if name in fields}
    given: dict[str, Any] = {"prompt": "", "seed": 7, "width": 64, "height": 64, **fields}
    request = GenerationRequest(**given)
    arguments = named_arguments(PROMPTS_FROM_FILE, {"text": text, **own})
    assert PROMPTS_FROM_FILE.steps is not None
    return list(PROMPTS_FROM_FILE.steps(request, arguments, context))


def one(text: str, **fields: Any) -> GenerationRequest:
    (step,) = steps(text, **fields)
    (request,) = step.requests
    return request


def test_flags_set_what_they_are_named_after() -> None:
    request = one(
        "--prompt a red cat --negative_prompt 'blue dog' --steps 3 --cfg_scale 2.5 --seed 9 "
        "--subseed 4 --subseed_strength 0.5 --width 75 --height 128 --batch_size 2 --n_iter 3 "
        "--sampler_name 'DPM++ 2M' --tiling true --seed_resize_from_w 96 --seed_resize_from_h 64 "
        "--restore_faces false --do_not_save_grid true --do_not_save_samples false"
    )
    assert (request.prompt, request.negative_prompt) == ("a red cat", "blue dog")
    assert (request.steps, request.cfg_scale, request.sampler) == (3, 2.5, "DPM++ 2M")
    assert (request.seed, request.variation_seed, request.variation_strength) == (9, 4, 0.5)
    assert (request.width, request.height) == (72, 128)
    assert (request.batch_size, request.batch_count, request.tiling) == (2, 3, True)
    assert request.seed_resize_from == (96, 64)


@pytest.mark.parametrize(
    "line",
    [
        "a cat -- and more",
        "--nonsense 3",
        "--prompt",
        "--steps many --prompt a",
        "--prompt 'unbalanced",
        "--prompt a \\",
        f"--seed {'9' * 5000}",
        "--steps 2 stray",
        "-- a",
    ],
)
def test_what_cannot_be_read_as_flags_is_a_prompt_and_told(line: str) -> None:
    assert one(line).prompt == line
    run = PROMPTS_FROM_FILE.run(
        GenerationRequest(prompt="", seed=7),
        named_arguments(PROMPTS_FROM_FILE, {"text": line}),
        CONTEXT,
    )
    assert next(run).requests[0].prompt == line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--prompt a --outpath_samples /etc", "line 2: --outpath_samples is refused"),
        ("--prompt a --outpath_grids x", "line 2: --outpath_grids is refused"),
        ("--prompt a --styles ink", "line 2: --styles is refused"),
        ("--prompt a --restore_faces true", "line 2: --restore_faces is refused"),
        ("--prompt a --do_not_save_samples true", "line 2: --do_not_save_samples is refused"),
        ("--prompt a --steps 0", "line 2: steps"),
        ("--prompt a --width 4", "line 2: width"),
        ("--prompt a --cfg_scale nan", "line 2: cfg_scale"),
        ("--prompt a --sampler_name none-such", "line 2: .*none-such"),
        ("--prompt a --sd_model none-such", "line 2: --sd_model 'none-such': no such checkpoint"),
        ("--prompt a --seed 99999999999999999999999", "line 2: seed"),
    ],
)
def test_flags_that_cannot_be_honored_are_refused_by_their_line(line: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        steps(f"\n{line}")


def test_a_checkpoint_stays_for_the_lines_that_follow(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"")
    context = ScriptContext(Registry({"checkpoint": [tmp_path]}), 64)
    found = steps("a\n--prompt b --sd_model ink\nc", context)
    assert [step.checkpoint for step in found] == ["", "ink", "ink"]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_the_seed_goes_on_by_the_images_of_a_line(size: int, count: int, lines: int) -> None:
    found = steps("a\n" * lines, iterate_seed=True, batch_size=size, batch_count=count)
    assert [step.requests[0].seed for step in found] == [
        7 + number * size * count for number in range(lines)
    ]


def test_a_seed_that_is_drawn_is_one_for_all_or_each_lines_own() -> None:
    own = {step.requests[0].seed for step in steps("a\n" * 20, seed=-1)}
    same = {step.requests[0].seed for step in steps("a\n" * 20, seed=-1, same_seed=True)}
    assert len(own) > 1
    assert len(same) == 1


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        found = steps(text)
    except RequestError as error:
        assert "line" in str(error)
    else:
        assert len(found) == len([line for line in text.splitlines() if line.strip()])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n" * (MOST_LINES + 1), f"more than {MOST_LINES} lines"),
        ("b" * 1_000_000, "line 1 has 1000000 characters"),
    ],
)
def test_long_files_are_refused_at_once(text: str, words: str) -> None:
    begun = time.process_time()
    with pytest.raises(RequestError, match=words):
        steps(text)
    assert time.process_time() - begun < 1


def test_a_file_without_lines_is_refused() -> None:
    arguments = named_arguments(PROMPTS_FROM_FILE, {"text": " \n\n"})
    with pytest.raises(RequestError, match="no lines"):
        next(PROMPTS_FROM_FILE.run(GenerationRequest(prompt="a"), arguments, CONTEXT))
