"""What scripts say in a request beside what people do: random numbers, colors, masks and entries of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from promptengine import (
    Engine,
    GenerationRequest,
    GenerationResult,
    ImageStart,
    Inpainting,
    Options,
    RequestError,
)
from promptengine.images.color_correction import match_colors

SIDE = 64


def gradient(first: int, last: int) -> Image.Image:
    ramp = np.linspace(first, last, SIDE).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(ramp, (SIDE, 1))] * 3, -1))


IMAGE = gradient(0, 200)


def made(
    engine: Engine,
    *,
    encoder_noise: torch.Tensor | None = None,
    start: dict[str, Any] | None = None,
    **values: Any,
) -> GenerationResult:
    begun = ImageStart(**{"images": (IMAGE,), "denoising_strength": 0.5, **(start or {})})
    common = {"prompt": "sea", "seed": 7, "steps": 2, "width": SIDE, "height": SIDE}
    request = GenerationRequest(**{**common, **values}, start=begun)
    return engine.generate(request, encoder_noise=encoder_noise)


def test_noise_of_the_encoder_goes_on_from_one_image_to_the_next(tiny_engine: Engine) -> None:
    generator = torch.Generator().manual_seed(5)
    noise = [torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2)]
    given = made(tiny_engine, batch_size=2, encoder_noise=torch.cat(noise))
    seeded = made(tiny_engine, batch_size=2, start={"encoder_seed": 5})
    assert torch.equal(given.latents, seeded.latents)
    assert not torch.equal(made(tiny_engine, batch_size=2).latents, seeded.latents)


def test_colors_are_corrected_to_the_reference(tiny_engine: Engine) -> None:
    reference = gradient(100, 255)
    corrected = made(
        tiny_engine,
        start={"color_reference": reference},
        options=Options(color_correction=True),
    )
    expected = match_colors(made(tiny_engine).images[0], reference)
    assert corrected.images[0].tobytes() == expected.tobytes()


def test_the_sampler_paints_by_a_mask_of_its_own(tiny_engine: Engine) -> None:
    white, half = Image.new("L", (SIDE, SIDE), 255), Image.new("L", (SIDE, SIDE))
    half.paste(255, (0, 0, SIDE // 2, SIDE))
    inpainting = Inpainting(mask=white, latent_mask=half, blur=(0, 0))
    start = {"inpainting": inpainting, "encoder_seed": 5}
    one, other = (made(tiny_engine, start=start, seed=seed).latents for seed in (7, 8))
    assert torch.equal(one[..., 4:], other[..., 4:])
    assert not torch.isclose(one[..., :4], other[..., :4]).any()


def test_both_masks_have_one_size() -> None:
    masks = {"mask": Image.new("L", (8, 8)), "latent_mask": Image.new("L", (8, 9))}
    with pytest.raises(RequestError, match="latent_mask has 8x9 pixels, the mask 8x8"):
        Inpainting(**masks)


def test_infotexts_tell_of_the_script_where_webui_does(tiny_engine: Engine) -> None:
    inpainting = Inpainting(mask=Image.new("L", (SIDE, SIDE), 255))
    result = made(
        tiny_engine,
        start={"inpainting": inpainting},
        script_entries=(("Denoising curve", "Linear"), ("Note", "a, b")),
    )
    assert 'RNG: CPU, Denoising curve: Linear, Note: "a, b", Mask blur: 4' in result.infotexts[0]
