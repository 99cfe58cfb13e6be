"""The engine's promises: tags change images, nothing lingers, reports tell the truth."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import Tensor

from promptengine import (
    Engine,
    GenerationCancelled,
    GenerationRequest,
    GenerationResult,
    Hypernetwork,
    IncompatibleNetworkError,
    NetworkFormatError,
    PromptSyntaxError,
    RequestError,
    UnknownNetworkError,
    load_hypernetwork,
    save_hypernetwork,
)
from promptengine.generation.cfg_denoiser import predict_noise
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.networks.hypernetwork.inject import HypernetworkStack, Injection
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from promptengine.request.edit import apply_settings
from promptengine.request.options import Options
from tests.conftest import NETWORKS, WEBUI

BASE = GenerationRequest(prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler")
ROWS_ALIKE = 1e-4 if Version(torch.__version__) >= Version("2.13") else 5e-4
"""How far a row may be from the image made alone. Products by newer torch's oneDNN do not depend on the batch, and
it is 0; the rounding of others grows on its way through a random UNet at CFG 7."""


def latents(engine: Engine, prompt: str, **changes: object) -> Tensor:
    return engine.generate(replace(BASE, prompt=prompt, **changes)).latents


def networks_folder(engine: Engine) -> Path:
    return engine.registry.entries("hypernet")[0].path.parent


def fingerprint(engine: Engine) -> list[Tensor]:
    """Every weight of the model, and what its UNet answers."""
    unet = engine.checkpoint.unet
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 9, 8, generator=generator)
    context = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        answer = predict_noise(unet, x, torch.tensor([500.0]), context)
    modules = (unet, engine.checkpoint.vae, engine.checkpoint.text_encoder)
    return [answer, *(t.clone() for m in modules for t in m.state_dict().values())]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_tag_changes_the_image(tiny_engine: Engine) -> None:
    plain = tiny_engine.generate(BASE)
    tagged = tiny_engine.generate(replace(BASE, prompt="a cat<hypernet:hn-relu:1>"))
    assert (plain.latents - tagged.latents).abs().max() > 0.01
    assert plain.images[0].tobytes() != tagged.images[0].tobytes()
    (report,) = tagged.networks
    assert report.applied
    assert report.multiplier == 1.0


def test_multiplier_0_and_no_tag_are_bit_equal(tiny_engine: Engine) -> None:
    zero = tiny_engine.generate(replace(BASE, prompt="a cat<hypernet:hn-relu:0>"))
    plain = tiny_engine.generate(BASE)
    assert torch.equal(zero.latents, plain.latents)
    assert zero.images[0].tobytes() == plain.images[0].tobytes()
    (report,) = zero.networks
    assert not report.applied
    assert "0" in report.reason


def test_the_model_is_untouched_after_a_generation(tiny_engine: Engine) -> None:
    before = fingerprint(tiny_engine)
    latents(tiny_engine, "a cat<hypernet:hn-relu:1><hypernet:hn-linear:0.5>", height=72)
    assert same(before, fingerprint(tiny_engine))


def test_the_model_is_untouched_after_an_exception(tiny_engine: Engine) -> None:
    before = fingerprint(tiny_engine)

    def fail(_progress: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny_engine.generate(replace(BASE, prompt="a<hypernet:hn-relu:1>"), on_progress=fail)
    assert same(before, fingerprint(tiny_engine))


def test_cancelling_stops_between_steps_and_leaves_the_model_untouched(tiny_engine: Engine) -> None:
    before = fingerprint(tiny_engine)
    cancel = threading.Event()
    seen: list[int] = []

    def cancel_at_second(progress: object) -> None:
        seen.append(progress.step)  # type: ignore[attr-defined]
        if len(seen) == 2:
            cancel.set()

    request = replace(BASE, prompt="a<hypernet:hn-relu:1>", steps=5)
    with pytest.raises(GenerationCancelled):
        tiny_engine.generate(request, on_progress=cancel_at_second, cancel=cancel)
    assert seen == [1, 2]
    assert same(before, fingerprint(tiny_engine))


def test_progress_is_told_for_every_step_of_every_batch(tiny_engine: Engine) -> None:
    seen: list[tuple[int, int, int, int]] = []
    request = replace(BASE, batch_count=2, batch_size=2)
    result = tiny_engine.generate(
        request, on_progress=lambda p: seen.append((p.batch, p.batches, p.step, p.steps))
    )
    assert seen == [(0, 2, 1, 2), (0, 2, 2, 2), (1, 2, 1, 2), (1, 2, 2, 2)]
    assert result.seeds == (7, 8, 9, 10)
    assert len(result.images) == len(result.infotexts) == len(result.latents) == 4
    for seed, text in zip(result.seeds, result.infotexts, strict=True):
        assert f"Seed: {seed}," in text


def test_a_batch_equals_its_images_alone(tiny_engine: Engine) -> None:
    request = replace(BASE, sampler="Euler a", prompt="a cat<hypernet:hn-relu:1>")
    batch = tiny_engine.generate(replace(request, batch_size=2)).latents
    alone = [tiny_engine.generate(replace(request, seed=seed)).latents[0] for seed in (7, 8)]
    torch.testing.assert_close(batch, torch.stack(alone), atol=1e-3, rtol=0)


# Rounding depends on a batch's size, and guidance multiplies it; on a random model by a lot.
GENTLE = replace(BASE, cfg_scale=2.0)
MIXED = (
    replace(GENTLE, prompt="a cat<hypernet:hn-relu:1>"),
    replace(GENTLE, prompt="a [dog:cat:0.5]", seed=11, cfg_scale=3.0),
    replace(GENTLE, prompt="a cat AND a dog:0.5<hypernet:hn-linear:0.7>", seed=12),
    replace(
        GENTLE, prompt=" ".join(["cat"] * 90) + "<hypernet:hn-relu:0.4>", seed=13, batch_size=2
    ),
    replace(GENTLE, prompt="a cat", negative_prompt="dog " * 160, seed=14),
)


def test_different_requests_run_as_one_batch(tiny_engine: Engine) -> None:
    calls: list[int] = []
    unet = tiny_engine.checkpoint.unet
    handle = unet.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    try:
        together = tiny_engine.generate_batch(MIXED)
        assert calls == [13] * BASE.steps
    finally:
        handle.remove()
    for request, result in zip(MIXED, together, strict=True):
        alone = tiny_engine.generate(request)
        torch.testing.assert_close(result.latents, alone.latents, atol=1e-4, rtol=1e-5)
        assert result.infotexts == alone.infotexts
        assert result.networks == alone.networks
        assert result.seeds == alone.seeds


def test_networks_can_change_over_the_steps(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[list[tuple[str, float]]] = []
    choose = Injection.choose

    def recorded(injection: Injection, *stacks: HypernetworkStack) -> None:
        chosen.append([(network.name, multiplier) for network, multiplier in stacks[0]])
        choose(injection, *stacks)

    monkeypatch.setattr(Injection, "choose", recorded)

    def run(prompt: str, dialect: str = "extended") -> GenerationResult:
        chosen.clear()
        return tiny_engine.generate(replace(GENTLE, prompt=prompt, steps=4, dialect=dialect))

    always = run("a cat<hypernet:hn-relu:1>", "webui")
    names = {name for stack in chosen for name, _ in stack}
    constant = run("a cat<hypernet:hn-relu:1@0,1@3>")
    assert torch.equal(constant.latents, always.latents)
    moving = run("a cat<hypernet:hn-relu:0@0,1@0.5>")
    (name,) = names
    assert chosen[1:] == [[(name, value)] for value in (0, 0.5, 1, 1)]
    assert not torch.allclose(moving.latents, always.latents, atol=1e-3)
    assert moving.networks[0].multipliers[:4] == (0, 0.5, 1, 1)
    infotext = read_infotext(moving.infotexts[0])
    assert infotext.entries["Hypernet schedule"] == "hn-relu: 0@1 0.5@2 1@3"
    again = recipe_from_infotext(infotext, tiny_engine.registry).request
    assert (again.prompt, again.dialect) == (infotext.prompt, "extended")
    run("[<hypernet:hn-relu:1>:<hypernet:hn-linear:0.5>:2] a cat")
    told = [[multiplier for _, multiplier in stack] for stack in chosen[1:]]
    assert told == [[1, 0], [1, 0], [1, 0], [0, 0.5]]


def test_requests_that_share_too_little_follow_one_another(tiny_engine: Engine) -> None:
    requests = [
        replace(BASE, sampler="Euler"),
        replace(BASE, sampler="DPM adaptive"),
        replace(BASE, sampler="DPM adaptive", seed=9),
        replace(BASE, width=64, batch_count=2),
        replace(BASE, sampler="Euler", seed=3),
    ]
    seen: list[int] = []
    together = tiny_engine.generate_batch(requests, on_progress=lambda p: seen.append(p.step))
    assert seen.count(1) == 5
    for request, result in zip(requests, together, strict=True):
        alone = tiny_engine.generate(request).latents
        torch.testing.assert_close(result.latents, alone, atol=ROWS_ALIKE, rtol=1e-5)


def test_the_first_prompts_networks_can_act_on_all(tiny_engine: Engine) -> None:
    first, second = MIXED[0], MIXED[2]
    results = tiny_engine.generate_batch([first, second], networks="first-prompt")
    expected = replace(second, prompt="a cat AND a dog:0.5<hypernet:hn-relu:1>")
    alone = tiny_engine.generate(expected)
    torch.testing.assert_close(results[1].latents, alone.latents, atol=ROWS_ALIKE, rtol=1e-5)
    told = [(report.name, report.applied) for report in results[1].networks]
    assert told == [("hn-relu", True), ("hn-linear", False)]
    assert "Hypernet skipped: hn-linear (the batch has" in results[1].infotexts[0]


def test_a_drawn_seed_is_reported_and_reproduces(tiny_engine: Engine) -> None:
    drawn = tiny_engine.generate(replace(BASE, seed=-1))
    again = tiny_engine.generate(replace(BASE, seed=drawn.seeds[0]))
    assert torch.equal(drawn.latents, again.latents)
    assert f"Seed: {drawn.seeds[0]}," in drawn.infotexts[0]


@pytest.mark.parametrize(
    "path", sorted((WEBUI / "hypernetworks_bad").iterdir()), ids=lambda p: p.stem
)
def test_a_bad_file_is_one_clear_error_and_runs_nothing(
    tiny_engine: Engine, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = Path(shutil.copy(path, networks_folder(tiny_engine)))
    request = replace(BASE, prompt=f"a cat<hypernet:{path.stem}:1>")
    try:
        with pytest.raises(NetworkFormatError) as caught:
            tiny_engine.generate(replace(request, policy="strict"))
        result = tiny_engine.generate(request)
    finally:
        copy.unlink()
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [report.applied for report in result.networks] == [False]
    assert [d.severity for d in result.diagnostics] == ["warning"]
    assert "Hypernet hashes" not in result.infotexts[0]
    assert f"Hypernet skipped: {path.stem} (not readable)" in result.infotexts[0]
    assert torch.equal(result.latents, latents(tiny_engine, "a cat"))
    assert {entry.name for entry in tmp_path.iterdir()} <= {"cache"}


def test_an_unknown_network_is_reported_or_refused(tiny_engine: Engine) -> None:
    request = replace(BASE, prompt="a cat <hypernet:hn-rel:1>")
    result = tiny_engine.generate(request)
    (report,) = result.networks
    assert (report.applied, report.reason) == (False, "not found")
    assert "hn-relu" in result.diagnostics[0].message
    assert "Hypernet skipped: hn-rel (not found)" in result.infotexts[0]
    assert tiny_engine.generate(replace(request, policy="ignore")).diagnostics == ()
    silent = replace(request, ignored_diagnostics=(result.diagnostics[0].code,))
    told = tiny_engine.generate(silent)
    assert (told.diagnostics, told.infotexts) == ((), result.infotexts)
    assert told.networks == result.networks
    request = silent
    with pytest.raises(UnknownNetworkError, match=r"'hn-rel' at column 7; did you mean 'hn-relu"):
        tiny_engine.generate(replace(request, policy="strict"))


@pytest.mark.parametrize("multiplier", ["abc", "", "0,5", "nan", "inf", "-inf"])
def test_a_bad_multiplier_skips_its_own_tag_only(tiny_engine: Engine, multiplier: str) -> None:
    prompt = f"a cat<hypernet:hn-relu:{multiplier}><hypernet:hn-linear:0.5>"
    result = tiny_engine.generate(replace(BASE, prompt=prompt))
    assert [report.applied for report in result.networks] == [False, True]
    assert torch.equal(result.latents, latents(tiny_engine, "a cat<hypernet:hn-linear:0.5>"))
    with pytest.raises(PromptSyntaxError, match="column 6"):
        tiny_engine.generate(replace(BASE, prompt=prompt, policy="strict"))


def test_other_tags_are_listed_as_not_applied(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(replace(BASE, prompt="a cat<lora:x:1><Hypernet:hn-relu:1>"))
    assert [(r.kind, r.name, r.applied) for r in result.networks] == [
        ("lora", "x", False),
        ("Hypernet", "hn-relu", False),
    ]
    assert torch.equal(result.latents, latents(tiny_engine, "a cat"))


def test_snapshots_that_carry_their_parents_name_stay_apart(tiny_engine: Engine) -> None:
    """WebUI caches by the name inside the file, and mixes such files up (D1)."""
    folder = networks_folder(tiny_engine)
    other = load_hypernetwork(NETWORKS / "hn-mish.pt")
    other.name = "hn-relu"
    save_hypernetwork(other, folder / "hn-relu-500.pt")
    first = latents(tiny_engine, "a cat<hypernet:hn-relu:1>")
    snapshot = latents(tiny_engine, "a cat<hypernet:hn-relu-500:1>")
    assert not torch.equal(first, snapshot)
    assert torch.equal(latents(tiny_engine, "a cat<hypernet:hn-relu:1>"), first)
    assert torch.equal(latents(tiny_engine, "a cat<hypernet:hn-mish:1>"), snapshot)
    (folder / "hn-relu-500.pt").unlink()


def test_a_changed_file_is_noticed(tiny_engine: Engine) -> None:
    path = networks_folder(tiny_engine) / "changing.pt"
    shutil.copy(NETWORKS / "hn-relu.pt", path)
    first = latents(tiny_engine, "a cat<hypernet:changing:1>")
    shutil.copy(NETWORKS / "hn-linear.pt", path)
    os.utime(path, ns=(1, 1))
    second = latents(tiny_engine, "a cat<hypernet:changing:1>")
    path.unlink()
    assert torch.equal(first, latents(tiny_engine, "a cat<hypernet:hn-relu:1>"))
    assert torch.equal(second, latents(tiny_engine, "a cat<hypernet:hn-linear:1>"))


def test_twice_is_applied_twice_with_each_its_multiplier(tiny_engine: Engine) -> None:
    prompt = "a cat<hypernet:hn-relu:0.5><hypernet:hn-relu:0.3>"
    first = tiny_engine.generate(replace(BASE, prompt=prompt))
    assert [report.multiplier for report in first.networks] == [0.5, 0.3]
    assert any("2 times" in diagnostic.message for diagnostic in first.diagnostics)
    assert torch.equal(first.latents, latents(tiny_engine, prompt))
    assert not torch.equal(first.latents, latents(tiny_engine, "a cat<hypernet:hn-relu:0.3>"))


def test_order_of_tags_matters(tiny_engine: Engine) -> None:
    forth = latents(tiny_engine, "a<hypernet:hn-relu:1><hypernet:hn-linear:1>")
    back = latents(tiny_engine, "a<hypernet:hn-linear:1><hypernet:hn-relu:1>")
    assert not torch.equal(forth, back)


def test_what_is_no_number_is_said(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(replace(BASE, prompt="a cat<hypernet:hn-relu:1e38>"))
    assert any("no numbers" in diagnostic.message for diagnostic in result.diagnostics)


def test_requests_that_cannot_be_honored_name_the_field(tiny_engine: Engine) -> None:
    cases: dict[str, object] = {
        "steps": 0,
        "width": 70,
        "height": 4,
        "seed": 2**64,
        "batch_size": 0,
        "variation_strength": 1.5,
        "variation_seed": -2,
        "seed_resize_from": (64, 4),
    }
    for field, value in cases.items():
        with pytest.raises(RequestError, match=field) as caught:
            replace(BASE, **{field: value})
        assert caught.value.field == field
    with pytest.raises(RequestError, match="did you mean 'Euler a'"):
        tiny_engine.generate(replace(BASE, sampler="Eular a"))


def test_clip_skip_beyond_the_text_model_is_a_request_error(tiny_engine: Engine) -> None:
    with pytest.raises(RequestError, match="clip_skip"):
        tiny_engine.generate(replace(BASE, clip_skip=50))


def test_two_engines_share_nothing(tiny_engine: Engine) -> None:
    other = Engine(tiny_engine.checkpoint, tiny_engine.registry, tiny_engine.device)
    assert torch.equal(latents(other, "a cat"), latents(tiny_engine, "a cat"))


def test_a_misfit_is_skipped_or_refused(tiny_engine: Engine) -> None:
    path = networks_folder(tiny_engine) / "hn-wide.pt"
    settings = HypernetworkSettings()
    save_hypernetwork(Hypernetwork([768], name="inner name", settings=settings), path)
    try:
        result = tiny_engine.generate(replace(BASE, prompt="a cat<hypernet:hn-wide:1>"))
        assert [(r.applied, r.reason) for r in result.networks] == [(False, "does not fit")]
        assert "'hn-wide'" in result.diagnostics[0].message
        assert "768" in result.diagnostics[0].message
        with pytest.raises(IncompatibleNetworkError, match="768"):
            latents(tiny_engine, "a cat<hypernet:hn-wide:1>", policy="strict")
    finally:
        path.unlink()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    prompt=st.text(
        alphabet=st.sampled_from("ab ,()[]:|\\<>1.5#\nBREAKND\ud800\x00猫"), max_size=60
    ),
    negative=st.text(max_size=20),
)
def test_no_prompt_crashes_a_generation(tiny_engine: Engine, prompt: str, negative: str) -> None:
    request = replace(BASE, prompt=prompt, negative_prompt=negative, width=16, height=16, steps=1)
    assert len(tiny_engine.generate(request).images) == 1


def test_options_that_leave_no_number_are_refused(tiny_engine: Engine) -> None:
    changed = {"use_downcasted_alpha_bar": True, "sd_noise_schedule": "Zero Terminal SNR"}
    with pytest.raises(RequestError, match="leave one of them out") as caught:
        tiny_engine.generate(apply_settings(BASE, changed))
    assert caught.value.field == "use_downcasted_alpha_bar"


def test_what_the_old_emphasis_cuts_off_is_said(tiny_engine: Engine) -> None:
    options = Options(old_emphasis=True)
    prompt = "cat, " * 40 + "dog"
    result = tiny_engine.generate(replace(BASE, prompt=prompt, options=options))
    (said,) = [found.message for found in result.diagnostics]
    assert "room for 75 tokens" in said and "dog" in said
    short = tiny_engine.generate(replace(BASE, prompt="a cat", options=options))
    assert short.diagnostics == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sampler": "Euler a", "options": Options(noise_seed_delta=7)}, "ENSD: 7"),
        ({"scheduler": "SGM Uniform"}, "Sampler: Euler, Schedule type: SGM Uniform, CFG"),
        ({"options": Options(noise_schedule="zero_terminal_snr")}, "Noise Schedule: Zero Terminal"),
        ({"scheduler": "beta", "options": Options(beta_alpha=0.4)}, "Beta schedule alpha: 0.4"),
        ({"options": Options(unguided_early=0.5)}, "Skip Early CFG: 0.5"),
        (
            {"options": Options(unguided_below=9.0, unguided_below_always=True)},
            "NGMS: 9.0, NGMS all steps: True",
        ),
        (
            {"prompt": "(a:1.4) cat", "options": Options(old_emphasis=True)},
            "Old emphasis: Original",
        ),
        ({"options": Options(churn=2.0, churn_to=9.0)}, "Sigma churn: 2.0, Sigma tmax: 9.0"),
        ({"sampler": "DDIM", "options": Options(eta_ddim=0.5)}, "Eta DDIM: 0.5"),
        ({"tiling": True}, "Tiling: True"),
        ({"seed_resize_from": (48, 32)}, "Seed resize from: 48x32"),
        ({"variation_seed": 9, "variation_strength": 0.5}, "Variation seed: 9"),
        ({"options": Options(noise_source="nv")}, "RNG: NV"),
        (
            {"sampler": "DPM++ SDE", "options": Options(sde_noise_per_batch=True), "batch_size": 2},
            "DPM++ SDE",
        ),
    ],
)
def test_options_change_the_image_and_are_told(
    tiny_engine: Engine, changes: dict[str, object], told: str
) -> None:
    before = fingerprint(tiny_engine)
    plain = {key: changes[key] for key in ("prompt", "sampler", "batch_size") if key in changes}
    result = tiny_engine.generate(replace(BASE, **changes))
    assert told in result.infotexts[0]
    assert not torch.equal(result.latents, tiny_engine.generate(replace(BASE, **plain)).latents)
    assert same(before, fingerprint(tiny_engine))


def test_noise_as_a_gpu_draws_it_is_told_by_no_key(tiny_engine: Engine) -> None:
    gpu = tiny_engine.generate(replace(BASE, options=Options(noise_source="gpu")))
    nvidia = tiny_engine.generate(replace(BASE, options=Options(noise_source="nv")))
    assert torch.equal(gpu.latents, nvidia.latents)
    assert "RNG" not in gpu.infotexts[0]


def test_a_scheduler_that_does_nothing_is_said(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(replace(BASE, sampler="DDIM", scheduler="karras"))
    assert ["does nothing" in found.message for found in result.diagnostics] == [True]
    # As WebUI names it.
    assert "Sampler: DDIM, Schedule type: Karras," in result.infotexts[0]
    assert tiny_engine.generate(replace(BASE, sampler="DDIM")).diagnostics == ()


def test_a_scheduler_that_overrules_the_samplers_name_is_said(tiny_engine: Engine) -> None:
    result = tiny_engine.generate(replace(BASE, sampler="Euler Karras", scheduler="simple"))
    (said,) = [found.message for found in result.diagnostics]
    assert said == "the sampler's name says Karras, but the scheduler is Simple"
    assert "Sampler: Euler, Schedule type: Simple," in result.infotexts[0]


def test_drawn_variation_seeds_are_reported_and_reproduce(tiny_engine: Engine) -> None:
    request = replace(BASE, variation_strength=0.5, batch_size=2)
    drawn = tiny_engine.generate(request)
    first = drawn.variation_seeds[0]
    assert drawn.variation_seeds == (first, first + 1)
    assert drawn.seeds == (7, 7)
    again = tiny_engine.generate(replace(request, variation_seed=first))
    assert torch.equal(again.latents, drawn.latents)
