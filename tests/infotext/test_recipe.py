"""From infotexts to requests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from promptengine import (
    GenerationRequest,
    HiresPass,
    Recipe,
    Registry,
    read_infotext,
    recipe_from_infotext,
)
from promptengine.infotext.novelai import read_novelai
from promptengine.infotext.write import InfotextContext, generation_entries, write_infotext
from promptengine.prompt import Span
from promptengine.request.result import NetworkReport
from tests.infotext.builders import HOSTILE
from tests.model_folders import write_safetensors

LINE = "Steps: 20, Sampler: Euler a, Seed: 1"


def put(path: Path, content: bytes) -> str:
    """Write a file; returns its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def recipe(text: str, models: Path) -> Recipe:
    return recipe_from_infotext(read_infotext(text), Registry.open(models))


def said(found: Recipe) -> str:
    return "\n".join(f"{d.severity}: {d.message}; {d.hint}" for d in found.diagnostics)


def test_other_nodes_of_comfyuis_are_told(tmp_path: Path) -> None:
    found = recipe(f"a\n{LINE}, ComfyUI changes: model weights", tmp_path)
    message = "other nodes of ComfyUI's had a part in this image, so that it will differ"
    assert f"{message}: 'model weights'" in said(found)
    assert "not understood" not in said(found)


def test_the_common_keys(tmp_path: Path) -> None:
    found = recipe(
        "a\nNegative prompt: b\nSteps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 42, "
        "Size: 512x768, Clip skip: 2, RNG: CPU, ENSD: 31337, Variation seed: 7, "
        "Variation seed strength: 0.5, Seed resize from: 64x96, Version: v1.8.0",
        tmp_path,
    )
    request = found.request
    assert (request.prompt, request.negative_prompt) == ("a", "b")
    assert (request.steps, request.sampler, request.seed) == (30, "DPM++ 2M Karras", 42)
    assert (request.cfg_scale, request.width, request.height) == (7.5, 512, 768)
    assert request.clip_skip == 2
    assert found.options == {"randn_source": "CPU", "eta_noise_seed_delta": 31337}
    assert (request.variation_seed, request.variation_strength) == (7, 0.5)
    assert request.seed_resize_from == (64, 96)
    assert found.fields == {}
    assert found.diagnostics == ()


def test_noise_without_a_source_came_from_a_gpu(tmp_path: Path) -> None:
    assert recipe(f"a\n{LINE}", tmp_path).options == {"randn_source": "NV"}
    assert recipe(f"a\n{LINE}, RNG: GPU", tmp_path).options == {"randn_source": "NV"}
    assert recipe("only a prompt", tmp_path).options == {}


def test_a_sampler_that_there_is_not_is_said(tmp_path: Path) -> None:
    found = recipe("a\nSteps: 2, Sampler: Eular a, Seed: 1", tmp_path)
    assert found.request.sampler == "Euler a"
    assert any("Sampler: 'Eular a' cannot be used" in d.message for d in found.diagnostics)


@pytest.mark.parametrize(
    ("sampler", "kind", "read"),
    [
        ("DPM++ 2M", "Karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", "Karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", "exponential", ("DPM++ 2M", "exponential")),
        ("DPM++ 2M", "Automatic", ("DPM++ 2M", "Uniform")),
        ("Euler", "Automatic", ("Euler", "automatic")),
        ("Euler", "Uniform", ("Euler", "Uniform")),
        ("DPM++ 2M", "karras", ("DPM++ 2M", "karras")),
        ("Euler", "SGM Uniform", ("Euler", "SGM Uniform")),
    ],
)
def test_schedules_old_and_new(
    sampler: str, kind: str, read: tuple[str, str], tmp_path: Path
) -> None:
    found = recipe(f"a\nSteps: 2, Sampler: {sampler}, Schedule type: {kind}, Seed: 1", tmp_path)
    request = found.request
    assert (request.sampler, request.scheduler) == read


def test_old_versions_bring_their_settings(tmp_path: Path) -> None:
    line = "Steps: 2, Sampler: DDIM, Seed: 1, Eta: 0.5, RNG: CPU, Version: v1.5.2"
    assert recipe(f"[a:b:0.5]\n{line}", tmp_path).options == {
        "use_old_scheduling": True,
        "pad_cond_uncond_v0": True,
        "use_downcasted_alpha_bar": True,
        "eta_ddim": 0.5,
        "randn_source": "CPU",
    }


def test_hires(tmp_path: Path) -> None:
    found = recipe(
        f"a\n{LINE}, Denoising strength: 0.7, Hires resize: 128x0, Hires steps: 5, "
        'Hires sampler: Use same sampler, Hires prompt: "b, c"',
        tmp_path,
    )
    assert found.fields == {
        "enable_hr": True,
        "hr_resize_x": 128,
        "hr_resize_y": 0,
        "denoising_strength": 0.7,
        "hr_second_pass_steps": 5,
        "hr_prompt": "b, c",
    }
    assert found.diagnostics == ()
    old = recipe(f"a\n{LINE}, Size: 1024x1024, First pass size: 0x0", tmp_path)
    assert (old.request.width, old.fields["hr_resize_x"]) == (512, 1024)


def test_a_image_made_from_another_one_is_said_to_be(tmp_path: Path) -> None:
    found = recipe(f"a\n{LINE}, Denoising strength: 0.7, Masked content: latent noise", tmp_path)
    assert found.fields == {"denoising_strength": 0.7, "inpainting_fill": 2}
    assert said(found).count("img2img") == 1


def test_what_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    found = recipe(
        "a\nSteps: 0, Seed: x, CFG scale: nan, Sampler: Euler, Size: 70x64, ENSD: 1.5, "
        "Hires resize: big, Tiling: perhaps, Wizardry: 3, stray?, Prompt syntax: pe9",
        tmp_path,
    )
    request = found.request
    assert (request.steps, request.seed, request.cfg_scale) == (20, -1, 7.0)
    assert (request.width, request.height) == (64, 64)
    for expected in (
        "Steps: '0' cannot be used (steps is 0; it must be 1 to 1000)",
        "Seed: 'x' cannot be used",
        "CFG scale: 'nan' cannot be used",
        "info: size 70x64 makes an image of 64x64",
        "ENSD: '1.5' cannot be used",
        "Hires resize: 'big' cannot be used",
        "Tiling: 'perhaps' cannot be used",
        "the key 'Wizardry' is not understood and is left out: '3'",
        "'stray?' among the parameters",
        "prompt syntax 'pe9' is not known",
    ):
        assert expected in said(found)
    assert "Size: '4x4' cannot" in said(recipe(f"{LINE}, Size: 4x4", tmp_path))
    assert "left out: 'more'" in said(recipe(f"{LINE}\nmore", tmp_path))


def test_the_checkpoint_is_found_by_hash_and_then_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "Stable-diffusion"
    renamed = put(folder / "renamed.safetensors", b"one" * 500_000)
    put(folder / "model.safetensors", b"two")
    old = hashlib.sha256((b"one" * 500_000)[0x100000:0x110000]).hexdigest()
    for digest in (renamed[:10], old[:8]):
        found = recipe(f"{LINE}, Model hash: {digest}, Model: model", tmp_path)
        assert found.checkpoint is not None and found.checkpoint.name == "renamed"
        assert "is found here as 'renamed', by its hash" in said(found)
    other = recipe(f"{LINE}, Model hash: 0123456789, Model: model", tmp_path)
    assert other.checkpoint is not None and other.checkpoint.name == "model"
    assert "the file of that name differs and is used instead" in said(other)
    none = recipe(f"{LINE}, Model hash: 0123456789, Model: modle", tmp_path)
    assert none.checkpoint is None
    assert (
        "checkpoint 'modle' [0123456789] is not in the models folder; names like it: 'model'"
        in (said(none))
    )
    hashes = f'{{"model": "{renamed[:10]}"}}'
    civitai = recipe(f"{LINE}, Hashes: {hashes}", tmp_path)
    assert civitai.checkpoint is not None and civitai.checkpoint.name == "renamed"


def test_tags_follow_the_hash_to_the_file(tmp_path: Path) -> None:
    ink = put(tmp_path / "hypernetworks" / "renamed.pt", b"ink")
    put(tmp_path / "hypernetworks" / "ink.pt", b"another")
    wash = put(tmp_path / "hypernetworks" / "wash.pt", b"wash")
    write_safetensors(tmp_path / "Lora" / "style-v2.safetensors", {"sshs_model_hash": "ab" * 32})
    prompt = "a <hypernet:ink:0.5> # <hypernet:ink:1>\n<hypernet:wash> <lora:style:1><hypernet:ink>"
    found = recipe(
        f'{prompt}\n{LINE}, Hypernet hashes: "ink: {ink[:10]}, wash: {wash[:10]}, ink: {ink[:10]}", '
        f'Lora hashes: "style: {"ab" * 6}"',
        tmp_path,
    )
    assert found.request.prompt == (
        "a <hypernet:renamed:0.5> # <hypernet:ink:1>\n"
        "<hypernet:wash> <lora:style-v2:1><hypernet:renamed>"
    )
    assert [d.severity for d in found.diagnostics] == ["info", "info"]


def test_a_lora_without_a_hash_of_its_own_has_that_of_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "Lora" / "new.safetensors"
    write_safetensors(path, {})
    path.write_bytes(path.read_bytes() + b"tensors")
    digest = hashlib.sha256(b"tensors").hexdigest()[:12]
    found = recipe(f'<lora:old:1>\n{LINE}, Lora hashes: "old: {digest}"', tmp_path)
    assert found.request.prompt == "<lora:new:1>"


def test_embeddings_are_checked(tmp_path: Path) -> None:
    word = put(tmp_path / "embeddings" / "new.pt", b"word")
    found = recipe(f'old\n{LINE}, TI hashes: "old: {word[:12]}"', tmp_path)
    assert "write 'new' for 'old' in the prompts" in said(found)
    assert "not in the models folder" in said(recipe(f"{LINE}, TI hashes: w: {'0' * 12}", tmp_path))


def test_words_that_a_lora_brings_are_not_missed(tmp_path: Path) -> None:
    digest = put(tmp_path / "Lora" / "sea.safetensors", b"sea")
    line = f'{LINE}, Lora hashes: "sea: {digest[:12]}", TI hashes: "lanternfish: Sea"'
    found = recipe(f"lanternfish <lora:sea:1>\n{line}", tmp_path)
    assert found.diagnostics == ()
    assert found.request.prompt == "lanternfish <lora:sea:1>"


def test_networks_that_were_settings(tmp_path: Path) -> None:
    put(tmp_path / "hypernetworks" / "ink.pt", b"ink")
    put(tmp_path / "Lora" / "style.safetensors", b"style")
    put(tmp_path / "Lora" / "two.safetensors", b"two")
    found = recipe(
        f"a\n{LINE}, Hypernet: ink(), Hypernet strength: 0.6, AddNet Enabled: True, "
        "AddNet Module 1: LoRA, AddNet Model 1: style(), AddNet Weight A 1: 0.8, "
        "AddNet Weight B 1: 0.4, AddNet Module 2: LoRA, AddNet Model 2: two, "
        "AddNet Weight A 2: 0.5, AddNet Weight B 2: 0.5, AddNet Model 3: None, "
        "AddNet Module 4: Other, AddNet Model 4: x",
        tmp_path,
    )
    assert found.request.prompt == "a<hypernet:ink:0.6><lora:style:0.4:0.8><lora:two:0.5>"
    assert [d.message for d in found.diagnostics] == [
        "AddNet Module 4: 'Other' cannot be used (only LoRA is known) and is left out"
    ]
    digest = hashlib.sha256(b"ink").hexdigest()[:8]
    hashed = recipe(f"a\n{LINE}, Hypernet: gone({digest})", tmp_path)
    assert hashed.request.prompt == "a<hypernet:ink:1.0>"
    hashed = recipe(f"a\n{LINE}, Hypernet: gone, Hypernet hash: {digest}", tmp_path)
    assert hashed.request.prompt == "a<hypernet:ink:1.0>"
    off = recipe(f"a\n{LINE}, AddNet Enabled: False, AddNet Model 1: style", tmp_path)
    assert (off.request.prompt, off.diagnostics) == ("a", ())
    bad = recipe(f"a\n{LINE}, Hypernet: x<y, Hypernet strength: 1", tmp_path)
    assert bad.request.prompt == "a" and "no name of a hypernetwork" in said(bad)


def test_what_was_skipped_is_remembered(tmp_path: Path) -> None:
    put(tmp_path / "hypernetworks" / "ink.pt", b"ink")
    value = '"ink (not found), gone (not found)"'
    found = recipe(f"a\n{LINE}, Hypernet skipped: {value}", tmp_path)
    assert "warning: the image was made without hypernetwork ink (not found), which is" in (
        said(found)
    )
    assert "info: the image was made without hypernetwork gone (not found);" in said(found)


def test_what_was_skipped_keeps_the_commas_of_its_reason(tmp_path: Path) -> None:
    curve = "multiplier '0@0,1@0.5' is not a finite number"
    reports = [
        NetworkReport("hypernet", name, None, False, reason, Span(0, 1))
        for name, reason in (("in,k", curve), ("wash (2)", "not found"), ("c", "a (b), c"))
    ]
    making = InfotextContext(sampler="Euler", size=(8, 8), model="m", networks=reports)
    entries = generation_entries(GenerationRequest(prompt="a"), making, seed=1)
    found = recipe(write_infotext("a", "", entries), tmp_path)
    assert [d.message for d in found.diagnostics if "made without" in d.message] == [
        f"the image was made without hypernetwork {item}"
        for item in (f"ink ({curve})", "wash (2) (not found)", "c (a b, c)")
    ]


def test_a_prompt_of_the_extended_dialect_is_read_as_it_was_written(tmp_path: Path) -> None:
    prompt = "a <hypernet:ink:0@0,1@0.5>, [<hypernet:ink:1>:b:2]"
    request = GenerationRequest(
        prompt=prompt, dialect="extended", hires=HiresPass(prompt=f"x, {prompt}", upscaler="Latent")
    )
    making = InfotextContext(sampler="Euler a", size=(8, 8), model="m", hires_sampler="Euler a")
    text = write_infotext(prompt, "", generation_entries(request, making, seed=1))
    found = recipe(text, tmp_path)
    assert (found.request.prompt, found.request.dialect) == (prompt, "extended")
    assert found.fields["hr_prompt"] == f"x, {prompt}"


def test_vae(tmp_path: Path) -> None:
    vae = put(tmp_path / "VAE" / "fine.pt", b"vae")
    found = recipe(f"{LINE}, VAE hash: {vae[:10]}, VAE: other.pt", tmp_path)
    assert found.vae is not None and found.vae.name == "fine"
    assert recipe(f"{LINE}, VAE: None", tmp_path).options["sd_vae"] == "None"


def test_novelai(tmp_path: Path) -> None:
    texts = {
        "Software": "NovelAI",
        "Description": "a {cat}",
        "Comment": '{"steps": 28, "sampler": "k_euler_ancestral", "seed": 5, "scale": 11.0, '
        '"uc": "bad", "strength": 0.7}',
    }
    found = read_novelai(texts, (512, 768))
    assert found is not None
    assert (found.prompt, found.negative_prompt) == ("a {cat}", "bad")
    assert dict(found.entries) == {
        **{"Steps": "28", "Sampler": "Euler a", "CFG scale": "11.0", "Seed": "5"},
        **{"Size": "512x768", "Clip skip": "2", "ENSD": "31337", "NovelAI strength": "0.7"},
        "Version": "NovelAI",
    }
    again = recipe_from_infotext(found, Registry.open(tmp_path))
    assert "made by NovelAI" in said(again) and "'NovelAI strength' is not understood" in said(
        again
    )
    assert read_novelai({**texts, "Software": "x"}, None) is None
    for comment in ("", "[]", "[" * 100_000, "{"):
        assert read_novelai({**texts, "Comment": comment}, None) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE)
def test_any_infotext_gives_a_request(tmp_path: Path, text: str) -> None:
    found = recipe(f"a\n{LINE}, {text}", tmp_path)
    assert found.request.steps >= 1


@pytest.mark.parametrize(
    "piece", ["a: 0123456789, ", "k{}: v, ", " ", "(", ",", "AddNet Model 1: ("]
)
def test_huge_values_take_no_long_time(piece: str, tmp_path: Path) -> None:
    long = "".join(piece.replace("{}", str(n)) for n in range(20_000))
    for key in ("Hypernet", "Model", "Lora hashes", "TI hashes", "Hypernet skipped", "Size"):
        found = recipe(f'<lora:a:1>\n{LINE}, {key}: "{long}"', tmp_path)
        assert found.request.steps == 20
    assert recipe(f"{LINE}, {long}", tmp_path).request.seed == 1
