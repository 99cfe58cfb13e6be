"""LoRAs in whole generations: what is applied, what is said, and that nothing lingers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from promptengine import (
    Engine,
    GenerationRequest,
    GenerationResult,
    IncompatibleNetworkError,
    NetworkFormatError,
    PromptEngineError,
)
from promptengine.networks.lora import merge as merging
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI
from tests.networks.lora.builders import MIDDLE, plain, random, write_lora

LORAS = WEBUI.parent / "webui-2" / "loras"
BASE = GenerationRequest(prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(LORAS, folder / "Lora")
    (folder / "hypernetworks").mkdir()
    shutil.copy(NETWORKS / "hn-relu.pt", folder / "hypernetworks")
    wide = plain("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 128, 768)
    write_lora(folder / "Lora" / "wide.safetensors", wide)
    write_lora(
        folder / "Lora" / "zeros.safetensors",
        {name: torch.zeros_like(tensor) for name, tensor in plain(MIDDLE, 128, 128).items()},
    )
    write_lora(folder / "Lora" / "words.safetensors", {"bundle_emb.w.emb_params": random(1, 48)})
    write_lora(
        folder / "Lora" / "vera.safetensors",
        plain(MIDDLE, 128, 128) | {"base_model.model.conv_in.vera_lambda_b": random(128)},
    )
    write_lora(
        folder / "Lora" / "misfit.safetensors",
        plain(MIDDLE, 128, 128) | {"lora_unet_conv_in.oft_blocks": random(5, 4, 4)},
    )
    write_lora(
        folder / "Lora" / "nan.safetensors",
        plain(MIDDLE, 128, 128) | {"lora_unet_conv_in.diff": torch.full((32, 4, 3, 3), torch.nan)},
    )
    whole = "base_model.model.conv_in.weight"
    write_lora(
        folder / "Lora" / "whole.safetensors", plain(MIDDLE, 128, 128) | {whole: random(4, 4)}
    )
    (folder / "Lora" / "broken.safetensors").write_bytes(b"\x09\0\0\0\0\0\0\0{nonsense")
    torch.save(plain(MIDDLE, 128, 128), folder / "Lora" / "p.pt")
    return folder


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")


def generate(engine: Engine, tags: str, **changes: object) -> GenerationResult:
    return engine.generate(replace(BASE, prompt=f"a cat{tags}", **changes))


def model_weights(engine: Engine) -> list[Tensor]:
    parts = engine.checkpoint.unet, engine.checkpoint.text_encoder
    return [tensor.clone() for part in parts for tensor in part.state_dict().values()]


def test_a_tag_changes_the_image_and_the_model_is_as_before(engine: Engine) -> None:
    before, plain_latents = model_weights(engine), generate(engine, "").latents
    tagged = generate(engine, "<lora:lo-kohya:1><hypernet:hn-relu:1>")
    assert (tagged.latents - plain_latents).abs().max() > 0.01
    assert all(map(torch.equal, before, model_weights(engine)))
    assert torch.equal(generate(engine, "").latents, plain_latents)


def test_the_model_is_as_before_after_an_exception(engine: Engine) -> None:
    before = model_weights(engine)

    def fail(_progress: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.generate(replace(BASE, prompt="a<lora:lo-kohya:1>"), on_progress=fail)
    assert all(map(torch.equal, before, model_weights(engine)))


def test_text_is_encoded_under_the_lora(engine: Engine) -> None:
    plain_latents = generate(engine, "").latents
    assert (generate(engine, "<lora:lo-kohya:1:0>").latents - plain_latents).abs().max() > 0.01


def test_a_list_that_comes_back_is_not_merged_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    merges: list[object] = []
    original = merging.merge
    monkeypatch.setattr(
        "promptengine.networks.lora.weights.merge",
        lambda uses, parts: merges.append(uses) or original(uses, parts),
    )
    tags = "<lora:lo-locon:0.6><lora:lo-kohya:0.4:0.7>"
    first = generate(engine, tags)
    assert torch.equal(generate(engine, tags).latents, first.latents)
    assert len(merges) == 2  # of UNet and text encoder
    generate(engine, "<lora:lo-kohya:0.4:0.7><lora:lo-locon:0.6>")
    generate(engine, "<lora:lo-locon:0.6><lora:lo-kohya:0.4:0.7:2>")
    assert len(merges) == 6


def test_a_file_that_changes_is_another_lora(engine: Engine, models: Path) -> None:
    path = models / "Lora" / "changing.safetensors"
    images: list[Tensor] = []
    for seed in (1, 2, 1):
        write_lora(path, plain(MIDDLE, 128, 128, seed=seed))
        images.append(generate(engine, "<lora:changing:1>").latents)
    path.unlink()
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_a_lora_named_twice_is_applied_twice_each_with_its_own_multiplier(engine: Engine) -> None:
    twice = generate(engine, "<lora:lo-locon:0.5><lora:lo-locon:0.3>")
    assert [report.multiplier for report in twice.networks] == [0.5, 0.3]
    once, first, second = (generate(engine, f"<lora:lo-locon:{m}>") for m in (0.8, 0.5, 0.3))
    # Two sums are rounded otherwise than one, which the model magnifies, by how much hangs on the machine.
    rounding = (twice.latents - once.latents).abs().max()
    for other in (first, second):
        assert rounding < 1e-3 * (twice.latents - other.latents).abs().max()
    (warning,) = twice.diagnostics
    assert "LoRA 'lo-locon' is named 2 times" in warning.message


def test_reports_tell_what_was_used(engine: Engine) -> None:
    result = generate(engine, "<lyco:Nice Alias:0.5:-1><lora:lo-kohya:te=0:unet=0>")
    alias, zero = result.networks
    assert (alias.kind, alias.name, alias.multiplier, alias.unet_multiplier) == (
        "lyco",
        "Nice Alias",
        0.5,
        -1.0,
    )
    assert alias.applied and alias.lora_hash == "abababababab"
    assert alias.path is not None and alias.path.name == "lo-file-name.safetensors"
    assert alias.digest is not None and len(alias.digest) == 64
    assert (zero.applied, zero.reason, zero.digest) == (False, "multiplier is 0", None)
    assert 'Lora hashes: "Nice Alias: abababababab, lo-kohya: a9cc212bceb8"' in result.infotexts[0]
    assert "Lora skipped: lo-kohya (multiplier is 0)" in result.infotexts[0]


def test_a_lora_without_effect_on_its_multiplied_part_is_said_to_change_nothing(
    engine: Engine,
) -> None:
    # It changes the text encoder only.
    (report,) = generate(engine, "<lora:lo-file-name:0:1>").networks
    assert (report.applied, report.reason) == (False, "it changes nothing")
    (report,) = generate(engine, "<lora:words:0>").networks
    assert report.applied


def test_what_has_no_place_in_the_model_is_said(engine: Engine) -> None:
    result = generate(engine, "<lora:lo-unmatched-keys:1>")
    assert [report.applied for report in result.networks] == [True]
    (warning,) = result.diagnostics
    assert "2 of the 4 parts of LoRA 'lo-unmatched-keys'" in warning.message
    assert "diffusion_model_nonexistent_layer" in warning.hint


def test_why_a_part_does_not_fit_is_said(engine: Engine) -> None:
    result = generate(engine, "<lora:misfit:1>")
    assert torch.equal(result.latents, generate(engine, "<lora:p:1>").latents)
    (warning,) = result.diagnostics
    assert "1 of the 2 parts of LoRA 'misfit'" in warning.message
    assert "its oft_blocks turn 5 times 4 rows, and the model's weight has 32" in warning.hint


def test_words_of_a_lora_are_there_while_its_tag_is(engine: Engine) -> None:
    """They are words of both prompts, however small the multiplier."""
    prompts = replace(BASE, prompt="a w", negative_prompt="w")
    texts = [
        engine.generate(replace(prompts, prompt=f"a w{tag}"))
        for tag in ("", "<lora:words:1>", "<lora:words:0>", "")
    ]
    without, brought, at_zero, again = (text.latents for text in texts)
    assert not torch.equal(without, brought)
    assert torch.equal(brought, at_zero)
    assert torch.equal(without, again)
    assert 'TI hashes: "w: words"' in texts[1].infotexts[0]


@pytest.mark.parametrize(
    ("name", "reason", "error"),
    [
        ("wide", "does not fit", IncompatibleNetworkError),
        ("broken", "not readable", NetworkFormatError),
        ("nan", "not readable", NetworkFormatError),
    ],
)
def test_what_cannot_be_used_follows_the_policy(
    engine: Engine, name: str, reason: str, error: type[PromptEngineError]
) -> None:
    tags = f"<lora:{name}:1><lora:lo-kohya:0.5>"
    result = generate(engine, tags)
    assert [(r.applied, r.reason) for r in result.networks] == [(False, reason), (True, "")]
    assert torch.equal(result.latents, generate(engine, "<lora:lo-kohya:0.5>").latents)
    assert [d.hint for d in result.diagnostics] == ["it is not applied"]
    assert generate(engine, tags, policy="ignore").diagnostics == ()
    with pytest.raises(error):
        generate(engine, tags, policy="strict")


def test_unsupported_kinds_and_whole_weights_are_said_truly(engine: Engine) -> None:
    found = generate(engine, "<lora:vera:1><lora:whole:1>")
    vera, whole = found.networks
    assert (vera.applied, vera.reason) == (False, "VeRA is not supported")
    assert whole.applied
    messages = [diagnostic.message for diagnostic in found.diagnostics]
    assert any("VeRA is not supported" in message for message in messages)
    assert any("trained whole" in message for message in messages)
    assert not any("no place" in message for message in messages)
    plainly = generate(engine, "<lora:p:1>").latents
    assert torch.equal(found.latents, plainly)


def test_a_pickle_is_a_lora_too(engine: Engine) -> None:
    (report,) = generate(engine, "<lora:p:1>").networks
    assert report.applied
    assert report.digest is not None and report.lora_hash == report.digest[:12]


def test_a_lora_of_zeros_leaves_every_bit(engine: Engine) -> None:
    assert torch.equal(generate(engine, "<lora:zeros:1>").latents, generate(engine, "").latents)


def test_a_unet_with_fused_projections_is_refused(engine: Engine) -> None:
    unet = engine.checkpoint.unet
    unet.fuse_qkv_projections()
    try:
        with pytest.raises(PromptEngineError, match="unfuse_qkv_projections"):
            generate(engine, "<lora:lo-kohya:1>")
    finally:
        unet.unfuse_qkv_projections()
