"""WebUI's options as a request carries them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import promptengine
from promptengine import GenerationRequest, RequestError
from promptengine.request.edit import append_default_hypernetwork, apply_settings
from promptengine.request.options import REQUEST_SETTINGS, SETTINGS, Options, read_settings
from promptengine.request.request import one_batch
from tests.conformance.golden import folder, table


def golden(kind: str) -> dict[str, object]:
    used = table(folder() / "webui" / "goldens" / "options.json")[kind]
    # WebUI 1.9 made a field of requests of the setting that schedule types were.
    gone = {*REQUEST_SETTINGS, "k_sched_type"}
    return {name: value for name, value in used.items() if name not in gone}


def test_defaults_are_webuis_but_for_the_source_of_noise() -> None:
    assert Options.from_webui(golden("used")) == Options()
    assert Options.from_webui(golden("webui_default")).changed() == {"noise_source": "gpu"}
    ours = Options().to_webui()
    assert {name: ours[name] for name in golden("used")} == golden("used")


def test_both_ways() -> None:
    changed: dict[str, Any] = {
        "randn_source": "NV",
        "eta_ancestral": 0.5,
        "sd_noise_schedule": "Zero Terminal SNR",
        "beta_dist_alpha": 0.4,
        "skip_early_cond": 0.2,
        "uni_pc_order": 2,
        "pad_cond_uncond": True,
        "sd_hypernetwork": "ink",
        "img2img_background_color": "#2040a0",
    }
    options = Options.from_webui(changed)
    assert options.noise_schedule == "zero_terminal_snr"
    assert Options.from_webui(options.to_webui()) == options
    assert {name: options.to_webui()[name] for name in changed} == changed
    assert {options.webui_name(own) for own in options.changed()} == changed.keys()
    more = Options.from_webui({"rho": 2}, options)
    assert (more.rho, more.noise_source) == (2.0, "nv")
    assert isinstance(more.rho, float)


def test_every_field_has_an_option_and_an_explanation() -> None:
    for own in fields(Options):
        assert own.metadata["setting"] is SETTINGS[Options.webui_name(own.name)]
        assert f"        {own.name}: " in (Options.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("eta_ancestrl", 1.0, "unknown option 'eta_ancestrl'; did you mean 'eta_ancestral'"),
        ("nonsense", 1, "unknown option 'nonsense'"),
        ("eta_ancestral", "1", "eta_ancestral is '1'; it must be a number"),
        ("eta_ancestral", True, "it must be a number"),
        ("eta_ancestral", float("nan"), "it must be 0 to 10"),
        ("uni_pc_order", 2.5, "it must be a whole number"),
        ("uni_pc_order", True, "it must be a whole number"),
        ("uni_pc_order", 0, "it must be 1 to 50"),
        ("pad_cond_uncond", 1, "it must be true or false"),
        ("randn_source", "TPU", "it must be one of 'CPU', 'NV', 'GPU'"),
        ("randn_source", None, "it must be one of"),
        ("sd_hypernetwork", 3, "it must be text"),
        ("upcast_attn", True, "cannot be True here; leave it at False"),
        ("CLIP_stop_at_last_layers", 2, "the request's own field clip_skip"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: object, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        Options.from_webui({name: value})
    assert said in str(caught.value)
    assert caught.value.field == name


def test_fields_are_checked_on_creation() -> None:
    with pytest.raises(RequestError, match="randn_source"):
        Options(noise_source="CPU")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="s_churn is -1"):
        Options(churn=-1)


def test_values_are_read_from_text() -> None:
    texts = {"rho": "2", "uni_pc_order": "4", "pad_cond_uncond": "True", "sd_lora": "x=y"}
    assert read_settings(texts) == {
        "rho": 2.0,
        "uni_pc_order": 4,
        "pad_cond_uncond": True,
        "sd_lora": "x=y",
    }
    for name, text in (("rho", "much"), ("uni_pc_order", "2.5"), ("pad_cond_uncond", "maybe")):
        with pytest.raises(RequestError, match=name):
            read_settings({name: text})


def test_a_request_takes_webuis_options() -> None:
    request = GenerationRequest(prompt="a")
    changed = apply_settings(
        request, {"CLIP_stop_at_last_layers": 2, "tiling": True, "eta_ddim": 0.5}
    )
    assert (changed.clip_skip, changed.tiling, changed.options.eta_ddim) == (2, True, 0.5)
    assert apply_settings(request, {}) == request
    with pytest.raises(RequestError, match="CLIP_stop_at_last_layers"):
        apply_settings(request, {"CLIP_stop_at_last_layers": "2"})


def test_a_default_hypernetwork_is_appended_once() -> None:
    options = Options(hypernetwork="ink", default_multiplier=0.7)
    for prompt, expected in (
        ("a", "a<hypernet:ink:0.7>"),
        ("a <hypernet:ink:0.2>", "a <hypernet:ink:0.2>"),
        ("a <hypernet:wash>", "a <hypernet:wash><hypernet:ink:0.7>"),
        ("a # note", "a # note\n<hypernet:ink:0.7>"),
    ):
        request = GenerationRequest(prompt=prompt, options=options)
        assert append_default_hypernetwork(request).prompt == expected
    plain = GenerationRequest(prompt="a")
    assert append_default_hypernetwork(plain) is plain


def test_one_batch_has_the_seeds_it_has_in_the_whole() -> None:
    request = GenerationRequest(prompt="a", seed=5, batch_size=2, batch_count=3, variation_seed=9)
    assert (one_batch(request, 2).seed, one_batch(request, 2).variation_seed) == (9, 9)
    varied = GenerationRequest(
        prompt="a", seed=5, batch_size=2, batch_count=3, variation_seed=9, variation_strength=0.1
    )
    assert (one_batch(varied, 2).seed, one_batch(varied, 2).variation_seed) == (5, 13)
    assert one_batch(varied, 2).batch_count == 1


PACKAGE = Path(promptengine.__file__).parent


@pytest.mark.parametrize(
    "name", ["unipc_order", "unipc_variant", "unipc_spacing", "unipc_lower_order_final"]
)
def test_an_option_of_a_sampler_stands_in_two_files(name: str) -> None:
    """What declares it, and the sampler that takes it: all else derives from these."""
    setting = SETTINGS[Options.webui_name(name)]
    words = (name, setting.webui, setting.label)
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(f'"{word}"' in (text := path.read_text(encoding="utf-8")) for word in words)
        or f".{name}" in text
        or f" {name}:" in text
    }
    assert found == {"request/options.py", "request/samplers.py"}
