"""Regional prompts in whole generations: what they equal, what they leave alone, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from promptengine import (
    Engine,
    GenerationRequest,
    HiresPass,
    Options,
    PromptProcessor,
    RequestError,
)
from promptengine.errors import PromptSyntaxError
from promptengine.generation.from_infotext import request_from_infotext
from promptengine.generation.region_masks import BoxMasks, ImageMasks
from promptengine.generation.region_plan import plan_regions
from promptengine.prompt import parse
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Registry
from promptengine.request.image_start import ImageStart
from promptengine.request.plan import make_plan
from promptengine.request.regions import Region, region_boxes
from tests.checkpoints.original import tiny, write
from tests.model_folders import touch

BASE = GenerationRequest(
    prompt="a cat",
    seed=7,
    steps=2,
    width=64,
    height=72,
    sampler="Euler",
    cfg_scale=2.0,
    dialect="extended",
)
INK = "<hypernet:hn-relu:1>"
WHITE = Image.new("L", (32, 32), 255)


def half(left: int, right: int) -> Image.Image:
    """A mask of two halves."""
    mask = Image.new("L", (40, 20), right)
    mask.paste(left, (0, 0, 20, 20))
    return mask


def latents(engine: Engine, **changes: object) -> Tensor:
    return engine.generate(replace(BASE, **changes)).latents  # type: ignore[arg-type]


def close(one: Tensor, other: Tensor) -> None:
    """Equal to 1e-5 of their size."""
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize(
    "prompt",
    [
        "ADDCOMM a cat",
        "a cat ADDCOL a cat",
        "a cat ADDROW a cat ADDCOL a cat",
        "a cat ADDBASE a cat ADDCOL a cat",
    ],
)
def test_equal_texts_equal_the_plain_prompt(tiny_engine: Engine, prompt: str) -> None:
    close(latents(tiny_engine, prompt=prompt), latents(tiny_engine))


def test_a_common_text_stands_before_all(tiny_engine: Engine) -> None:
    made = latents(tiny_engine, prompt="a (cat:1.2) ADDCOMM red ADDCOL red")
    close(made, latents(tiny_engine, prompt="a (cat:1.2), red"))


def test_networks_in_all_regions_equal_one_everywhere(tiny_engine: Engine) -> None:
    plain = latents(tiny_engine, prompt=f"a cat{INK}")
    twice = tiny_engine.generate(replace(BASE, prompt=f"a cat{INK} ADDCOL a cat{INK}"))
    close(twice.latents, plain)
    assert not twice.diagnostics
    assert [one.region for one in twice.networks] == [1, 2]
    close(latents(tiny_engine, prompt=f"{INK} ADDCOMM a cat ADDCOL a cat"), plain)
    shared = f"a cat ADDBASE a cat{INK} ADDCOL a cat{INK}"
    assert (latents(tiny_engine, prompt=shared, region_base_ratios="0") - plain).abs().max() < 1e-4


def test_masks_equal_the_plain_prompt(tiny_engine: Engine) -> None:
    plain = latents(tiny_engine)
    whole = (Region(mask=WHITE, prompt="a cat"),)
    close(latents(tiny_engine, prompt="a dog", regions=whole), plain)
    halves = tuple(
        Region(mask=half(*sides), prompt="a cat", weight=weight)
        for sides, weight in (((255, 90), 1.0), ((0, 255), 0.5))
    )
    close(latents(tiny_engine, regions=halves), plain)
    inked = tuple(replace(one, prompt=f"a cat{INK}") for one in halves[:1])
    made = tiny_engine.generate(replace(BASE, regions=inked))
    assert [(one.region, one.applied) for one in made.networks] == [(1, True)]
    assert (made.latents - plain).abs().max() > 1e-2


def test_masks_and_columns_say_the_same(tiny_engine: Engine) -> None:
    masks = Region(mask=half(0, 255), prompt=f"a dog{INK}")
    columns = latents(tiny_engine, prompt=f"a cat ADDCOL a dog{INK}")
    made = latents(tiny_engine, regions=(masks,))
    assert (made - columns).abs().max() <= 1e-4 * columns.abs().max()


def test_a_network_in_memory_acts_in_its_region(tiny_engine: Engine) -> None:
    from promptengine.networks.hypernetwork.files import load_hypernetwork

    entry = tiny_engine.registry.find("hypernet", "hn-relu")
    assert entry is not None
    network = load_hypernetwork(entry.path)
    region = Region(mask=half(0, 255), prompt="a cat", networks=((network, 1.0),))
    made = tiny_engine.generate(replace(BASE, regions=(region,)))
    (report,) = made.networks
    assert (report.region, report.applied, report.origin) == (1, True, "request")
    close(
        made.latents,
        latents(tiny_engine, regions=(replace(region, prompt=f"a cat{INK}", networks=()),)),
    )


def test_nothing_is_left_and_batches_equal_their_images(tiny_engine: Engine) -> None:
    before = latents(tiny_engine)
    requests = [
        BASE,
        replace(
            BASE, prompt=f"a cat ADDCOL a dog{INK} ADDROW [a bird:a fish:1]", seed=9, batch_size=2
        ),
        replace(
            BASE, prompt=f"long, {'word ' * 80}ADDBASE a dog", region_base_ratios="0.5", seed=3
        ),
        replace(BASE, prompt=f"a dog{INK}", seed=4),
        replace(BASE, regions=(Region(mask=half(0, 255), prompt="a dog"),), seed=5),
    ]
    for request, made in zip(requests, tiny_engine.generate_batch(requests), strict=True):
        alone = tiny_engine.generate(request).latents
        assert (made.latents - alone).abs().max() <= 1e-4 * alone.abs().max()
    assert torch.equal(latents(tiny_engine), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"hires": HiresPass(scale=1.5, denoising_strength=0.8), "steps": 2},
        {"start": ImageStart(images=(Image.new("RGB", (64, 72), (90, 30, 60)),))},
        {"width": 88, "height": 56},
        {"tiling": True},
        {"options": Options(token_merging=0.5)},
        {"options": Options(batch_guidance=False)},
        {"options": Options(pad_with_empty=True)},
        {"cfg_scale": 1.0, "options": Options(unguided_early=0.5)},
        {"sampler": "DPM++ 2M SDE"},
    ],
)
def test_regions_go_with_all_else(tiny_engine: Engine, changes: dict[str, object]) -> None:
    plain = latents(tiny_engine, **changes)
    made = latents(tiny_engine, prompt="a cat ADDCOL a cat", **changes)
    assert (made - plain).abs().max() <= 1e-4 * plain.abs().max()
    other = latents(tiny_engine, prompt="a cat ADDCOL a dog", **changes)
    assert (other - plain).abs().max() > 1e-3 * plain.abs().max()


def test_each_operand_of_and_has_its_regions(tiny_engine: Engine) -> None:
    plain = latents(tiny_engine, prompt="a cat AND a dog :0.5")
    made = tiny_engine.generate(replace(BASE, prompt=f"a cat ADDCOL a cat AND a dog{INK} :0.5"))
    assert [one.region for one in made.networks] == [None]
    assert "act on the whole image" in made.diagnostics[0].message
    without = latents(tiny_engine, prompt="a cat ADDCOL a cat AND a dog :0.5")
    close(without, plain)


def test_infotexts_make_the_image_again(tiny_engine: Engine) -> None:
    request = replace(
        BASE,
        prompt=f"x ADDBASE a cat{INK} ADDCOL a dog ADDROW a bird",
        region_ratios="1,2,1;2",
        region_base_ratios="0.1,0.2,0.3",
        region_layout="horizontal",
    )
    made = tiny_engine.generate(request)
    again, left_out = request_from_infotext(made.infotexts[0], tiny_engine.registry)
    assert again.region_ratios == request.region_ratios
    assert torch.equal(tiny_engine.generate(replace(again, steps=2)).latents, made.latents)
    assert not [one for one in left_out if "egion" in one.message]
    upright = replace(request, region_ratios="1,2;1;1", region_layout="vertical")
    again, _ = request_from_infotext(
        tiny_engine.generate(upright).infotexts[0], tiny_engine.registry
    )
    assert (again.region_ratios, again.region_layout) == ("1,2;1;1", "vertical")


def test_infotexts_tell_of_masks(tiny_engine: Engine) -> None:
    made = tiny_engine.generate(replace(BASE, regions=(Region(mask=WHITE, prompt="a dog"),)))
    assert '\\"prompt\\": \\"a dog\\"' in made.infotexts[0]
    _, left_out = request_from_infotext(made.infotexts[0], tiny_engine.registry)
    assert [one for one in left_out if "whose masks its text does not hold" in one.message]


def test_options_for_texts_are_told_of_what_regions_say(tiny_engine: Engine) -> None:
    heavy = (Region(mask=half(0, 255), prompt="a (dog:1.2)"),)
    for emphasis in ("No norm", "Original"):
        request = replace(BASE, regions=heavy, options=Options(emphasis=emphasis))
        told = tiny_engine.generate(request).infotexts[0]
        assert ("Emphasis: No norm" in told) == (emphasis == "No norm")
    for count, cut in ((50, 0), (80, 1)):
        prompt = f"{'a ' * 50}ADDCOL {'a ' * count}"
        request = replace(BASE, prompt=prompt, options=Options(old_emphasis=True))
        said = tiny_engine.generate(request).diagnostics
        assert len([one for one in said if "room for 75 tokens" in one.message]) == cut


def refused(engine: Engine, **changes: object) -> str:
    with pytest.raises(RequestError) as caught:
        engine.generate(replace(BASE, **changes))  # type: ignore[arg-type]
    return str(caught.value)


def test_refusals(tiny_engine: Engine) -> None:
    many = "a" + " ADDCOL b" * 10_000
    assert "10001 regions; it must have up to 16" in refused(tiny_engine, prompt=many)
    two = "a ADDCOL b"
    assert "2 regions in 1 rows" in refused(tiny_engine, prompt=two, region_ratios="1,1,1")
    based = f"x ADDBASE {two}"
    assert "one number, or 2" in refused(tiny_engine, prompt=based, region_base_ratios="0,0,1")
    region = Region(mask=WHITE, prompt="a")
    assert "masks here" in refused(tiny_engine, prompt=two, regions=(region,))
    assert "masks here" in refused(tiny_engine, prompt="a AND b", regions=(region,))
    other = replace(region, prompt="a AND b")
    assert "one text" in refused(tiny_engine, regions=(other,))
    assert "up to 16" in refused(tiny_engine, regions=(region,) * 17)
    inked = f"a ADDCOL b{INK}"
    assert "token merging" in refused(tiny_engine, prompt=inked, options=Options(token_merging=0.5))
    named = Options(hypernetwork="hn-relu")
    assert "last region" in refused(tiny_engine, prompt=two, options=named)
    with pytest.raises(RequestError, match="black everywhere"):
        Region(mask=Image.new("L", (8, 8)), prompt="a")


def test_a_region_has_no_loras(tmp_path: Path) -> None:
    touch(tmp_path / "Lora" / "blue.safetensors")
    registry = Registry.open(tmp_path)
    text = "a ADDCOL b<lora:blue:1>"
    prompt, negative = parse(text, dialect="extended"), parse("", negative=True)
    scheduled = ScheduledPrompt(prompt, 2)
    plan = make_plan(scheduled, negative, registry)
    request = replace(BASE, prompt=text)
    found = plan_regions(scheduled, plan, request, registry)
    assert found is not None
    assert not found.everywhere.networks
    (own,) = found.networks
    assert [one.reason for one in own.plan.skipped] == ["regions have hypernetworks alone"]
    said = found.everywhere.diagnostics[-1]
    assert said.span is not None
    assert said.span.start == text.index("<")
    assert "a region has hypernetworks alone" in said.message
    strict = replace(request, policy="strict")
    with pytest.raises(PromptSyntaxError, match="put the tag before the first region"):
        plan_regions(scheduled, plan, strict, registry)
    masked = replace(BASE, regions=(Region(mask=WHITE, prompt=text[-16:]),))
    found = plan_regions(ScheduledPrompt(parse("a"), 2), plan, masked, registry)
    assert found is not None
    assert found.everywhere.diagnostics[-1].message.startswith("region 1: 'blue' is not applied")


def test_webui_reads_keywords_as_text(tiny_engine: Engine) -> None:
    request = replace(BASE, prompt="a ADDCOL b", dialect="webui", region_ratios="1,2")
    made = tiny_engine.generate(request)
    assert "--dialect extended" in made.diagnostics[0].hint
    assert (
        made.diagnostics[1].message
        == "region_ratios does nothing: the prompt has no ADDCOL or ADDROW"
    )
    based = tiny_engine.generate(replace(BASE, prompt="a ADDCOL b", region_base_ratios="0"))
    assert [one.message[:18] for one in based.diagnostics] == ["region_base_ratios"]


def test_masks_add_up_at_all_sizes() -> None:
    boxes = region_boxes(["ADDCOL", "ADDROW", "ADDCOL", "ADDCOL"], "1,2,1;2,1,3,7", "horizontal")
    masks = ImageMasks(
        [Region(mask=half(255, 40), prompt=""), Region(mask=half(80, 255), prompt="", weight=0.3)]
    )
    for size in ((9, 7), (1, 1), (64, 96), (33, 5)):
        for one in (BoxMasks(boxes, None), BoxMasks(boxes, (0.1, 0.2, 0.3, 0, 1)), masks):
            made = one(*size)
            assert made.shape[1:] == size
            assert made.min() >= 0
            torch.testing.assert_close(made.sum(dim=0), torch.ones(size))
    assert BoxMasks(region_boxes(["ADDCOL"], "1,3", "horizontal"), None)(1, 4)[0].tolist() == [
        [1, 0, 0, 0]
    ]


def test_under_the_networks_of_the_first_prompt_regions_have_none(tiny_engine: Engine) -> None:
    first = replace(BASE, prompt=f"a cat ADDCOL a dog{INK}")
    second = replace(BASE, prompt=f"a bird ADDCOL a fish{INK}", seed=8)
    made = tiny_engine.generate_batch([first, second], networks="first-prompt")
    close(made[0].latents, tiny_engine.generate(first).latents)
    bare = replace(second, prompt="a bird ADDCOL a fish")
    alone = tiny_engine.generate(bare).latents
    assert (made[1].latents - alone).abs().max() <= 1e-4 * alone.abs().max()
    assert [one.applied for one in made[1].networks] == [False, False]


@pytest.mark.parametrize("family", ["SDXL", "SDXL refiner"])
def test_sdxl_and_its_refiner_have_regions(tmp_path: Path, family: str) -> None:
    engine = Engine.open(write(tiny(family).weights(), tmp_path / "tiny.safetensors"), device="cpu")
    pooled: list[Tensor] = []

    def note(_module: object, _inputs: object, given: dict[str, Any]) -> None:
        pooled.append(given["added_cond_kwargs"]["text_embeds"][0])

    def made(prompt: str, **changes: object) -> Tensor:
        pooled.clear()
        return latents(engine, prompt=prompt, **changes)

    handle = engine.checkpoint.unet.register_forward_pre_hook(note, with_kwargs=True)
    try:
        plain = made("a cat")
        own = pooled[0]
        close(made("a cat ADDCOL a cat ADDROW a cat"), plain)
        other = made("a cat ADDCOL a dog")
        # What the model reads of a prompt as a whole is the first text's, so the region alone changes the image.
        torch.testing.assert_close(pooled[0], own)
        assert (other - plain).abs().max() > 1e-3 * plain.abs().max()
        masked = made("a cat", regions=(Region(mask=half(0, 255), prompt="a dog"),))
        torch.testing.assert_close(pooled[0], own)
        assert (masked - other).abs().max() <= 1e-4 * other.abs().max()
        made("a dog ADDBASE a cat ADDCOL a cat")
        assert not torch.allclose(pooled[0], own)
    finally:
        handle.remove()


def test_a_pipeline_has_no_regions(tiny_engine: Engine) -> None:
    processor = PromptProcessor(tiny_engine.to_pipeline(), dialect="extended")
    with pytest.raises(RequestError, match="a pipeline has no regions"):
        processor("a cat ADDCOL a dog")
