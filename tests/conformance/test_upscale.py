"""Pixel upscalers against WebUI's: the networks alone, in a second pass, and before img2img."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest, Options, RequestError, read_infotext
from promptengine.generation import sample
from promptengine.generation.enlarge import enlarge_latents
from promptengine.request.image_start import ImageStart, Inpainting, MaskedContent, ResizeMode
from promptengine.super_resolution.files import load_upscaler
from promptengine.super_resolution.swinir import SwinIR
from tests.conformance.golden import device, difference, tensors
from tests.conformance.test_txt2img import LATENT_TOLERANCE, request_of
from tests.conformance.upscaler_folders import (
    GOLDENS,
    golden_image,
    options_json,
    share_off,
    source_image,
    upscaler_cases,
    upscaler_files,
    upscaler_registry,
    worst_level,
)

RAW_TOLERANCE = 1e-5
TOLD = (
    "Seed",
    "Size",
    "Denoising strength",
    "Hires upscale",
    "Hires resize",
    "Hires steps",
    "Hires upscaler",
)
"""What of an infotext is about the passes and their sizes."""


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(GOLDENS / f"{name}.safetensors")


@pytest.fixture(scope="module")
def engine(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(
        model_dir / "tiny-sd1.safetensors",
        models=upscaler_registry(tmp_path_factory.mktemp("models")),
        config=model_dir / "diffusers_config",
        device=device(),
        dtype="float32",
    )


@pytest.mark.parametrize("path", upscaler_files(), ids=lambda path: path.stem)
def test_one_pass_of_a_network(path: Path) -> None:
    network = load_upscaler(path)
    if isinstance(network.module, SwinIR):
        _drop_paths_as_recorded(network.module)
    given = golden("upscaler_raw").get(f"{path.stem}/in")
    if given is None:
        pytest.skip("nothing was recorded of it")
    with torch.no_grad():
        made = network.module(given)
    assert difference(made, golden("upscaler_raw")[f"{path.stem}/out"]) <= RAW_TOLERANCE


def _drop_paths_as_recorded(module: SwinIR) -> None:
    """Scale the branches as training does.

    That one pass was recorded with the network still in training mode, in which branches are dropped at rates
    that rise to 0.1, and scaled up where they are kept. The last branch was dropped. Images were made in
    evaluation mode, as every other test shows.
    """
    blocks = [block for layer in module.layers for block in layer.residual_group.blocks]  # type: ignore[union-attr]
    with torch.no_grad():
        for number, block in enumerate(blocks):
            kept = 1 - 0.1 * number / (len(blocks) - 1)
            for branch in (block.attn.proj, block.mlp.fc2):
                branch.weight.div_(kept)
                branch.bias.div_(kept)
        blocks[-1].mlp.fc2.weight.zero_()
        blocks[-1].mlp.fc2.bias.zero_()


def full_request(case: dict[str, Any]) -> GenerationRequest:
    """The request of a case of the API, whose defaults are not ours."""
    request = request_of({key: case[key] for key in case if key != "init_images"})
    if "init_images" not in case:
        return request
    inpainting = None
    if "mask" in case:
        blur = case["mask_blur"]
        inpainting = Inpainting(
            mask=source_image(case["mask"]),
            blur=(blur, blur),
            content=get_args(MaskedContent)[case["inpainting_fill"]],
            only_masked=case["inpaint_full_res"],
            padding=case["inpaint_full_res_padding"],
        )
    start = ImageStart(
        images=tuple(map(source_image, case["init_images"])),
        denoising_strength=case["denoising_strength"],
        resize_mode=get_args(ResizeMode)[case.get("resize_mode", 0)],
        inpainting=inpainting,
    )
    return replace(request, start=start)


@pytest.mark.parametrize("case", upscaler_cases("upscale"))
def test_generation(engine: Engine, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name, request = case["id"], full_request(case)
    if "error" in case:
        with pytest.raises(RequestError, match=r"unknown upscaler .*Lanczos.*n3-"):
            engine.generate(request)
        return

    def enlarge(parts: Any, job: Any, x: Tensor, *more: Any) -> Tensor:
        first = golden("upscale_intermediate")[f"{name}/first_pass"]
        assert difference(x, first) <= LATENT_TOLERANCE
        # Decoding cuts to 8 bits, and networks with random weights magnify what falls to the other side.
        return enlarge_latents(parts, job, first, *more)

    monkeypatch.setattr(sample, "enlarge_latents", enlarge)
    noise = golden("upscale_intermediate").get(f"{name}/encode_eps")
    # A second pass draws the encoder's noise by the seed; in img2img WebUI seeds it from elsewhere.
    result = engine.generate(request, encoder_noise=None if request.start is None else noise)
    assert difference(result.latents, golden("upscale_latents")[name]) <= 2 * LATENT_TOLERANCE
    assert list(result.seeds) == case["seeds"]
    for ours, theirs in zip(result.infotexts, case["infotexts"], strict=True):
        mine, expected = (read_infotext(text).entries for text in (ours, theirs))
        assert {key: mine.get(key) for key in TOLD} == {key: expected.get(key) for key in TOLD}
    for number, image in enumerate(result.images):
        if (expected := golden_image("upscale", name, number)) is not None:
            assert worst_level(image, expected) <= 1
            assert share_off(image, expected) < 0.02


def test_tiles_are_those_of_webui_unless_it_is_said() -> None:
    usual = options_json()
    ours = Options().to_webui()
    tiles = [name for name in ours if "_tile" in name]
    assert len(tiles) == 4
    assert {name: ours[name] for name in tiles} == {name: usual[name] for name in tiles}
