"""Any network, on any row, in any region, at any step: batches drawn at random equal their rows made alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from promptengine import Engine, GenerationRequest, Region
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

BASE = GenerationRequest(
    prompt="a cat",
    steps=3,
    width=64,
    height=64,
    cfg_scale=2.0,
    dialect="extended",
    policy="strict",
)
LORAS = (
    *("lo-kohya", "lo-locon", "lo-loha", "lo-lokr", "lo-full-norm-ia3", "lo-ldmnames", "lo-bundle"),
    *("n3-glora", "n3-glora-new-shapes", "n3-oft-kohya", "n3-oft-lyco-rescale", "n3-boft-rescale"),
    *("n3-dora-lora", "n3-dora-conv", "n3-dora-loha", "n3-dora-tucker", "n3-lokr-tucker"),
    *("n3-mixed", "n3-weight-bias", "n3-peft-dotted", "n3-oft-fp16"),
)
HYPERNETWORKS = ("hn-relu", "hn-linear", "hn-tanh-out", "hn-xattn-only", "hn-swish-ln")
BOTH = (
    *("0.7", "-0.3", "0.2@0,1@0.5", "0@0;0.9@2", "0.8@1,0.1@2", "0.6:start=1", "0.8:step=1-2"),
    *("0.5:hr=0.1", "0.9:lbw=MIDD", "0.2@0,1@1:lbw=0,1,0.5,0,1,0.3,1,0,1,0.2,1,1"),
)
"""What may stand behind the name of any network."""
OF_LORAS = (*BOTH, "0.5:0.8", "te=0.9@0,0.1@2:unet=0.4", "te=0.3:unet=0@0,1@1", "0.6:stop=0.5")
WORDS = ("a cat", "a dog", "a (red:1.3) bird", "[fox:cow:1]", "[rain|snow]")


def tags(word: str, names: tuple[str, ...], arguments: tuple[str, ...]) -> st.SearchStrategy[str]:
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(arguments))
    return pairs.map(lambda pair: f"<{word}:{pair[0]}:{pair[1]}>")


hypernetworks = tags("hypernet", HYPERNETWORKS, BOTH)
networks = st.one_of(hypernetworks, tags("lora", LORAS, OF_LORAS))


def scheduled(tag: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A tag, or two that take turns."""
    forms = st.sampled_from(("{0}", "{0}", "[{0}:{1}:2]", "[{0}:1]", "[{0}|{1}]"))
    return st.tuples(forms, tag, tag).map(lambda found: found[0].format(*found[1:]))


def texts(tag: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Words with up to two networks."""
    stacks = st.lists(scheduled(tag), max_size=2).map("".join)
    return st.tuples(st.sampled_from(WORDS), stacks).map("".join)


def half(left: int, right: int) -> Image.Image:
    mask = Image.new("L", (8, 8), right)
    mask.paste(left, (0, 0, 4, 8))
    return mask


@st.composite
def requests(draw: st.DrawFn) -> GenerationRequest:
    """A row: a prompt with networks, and regions with networks of theirs, as keywords or as masks."""
    every, own = draw(texts(networks)), [draw(texts(hypernetworks)) for _ in range(2)]
    request = replace(BASE, seed=draw(st.integers(0, 99)))
    form = draw(
        st.sampled_from(
            (
                "{0}",
                "{0} ADDCOMM {1} ADDCOL {2}",
                "{0} ADDBASE {1} ADDROW {2}",
                "masks",
                "{0} AND a dog",
            )
        )
    )
    if form == "masks":
        masks = half(255, 0), half(60, 200)
        regions = tuple(
            Region(mask=mask, prompt=text) for mask, text in zip(masks, own, strict=True)
        )
        return replace(request, prompt=every, regions=regions)
    return replace(request, prompt=form.format(every, *own))


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.set_num_threads(1)
    loras = [WEBUI.parent / folder / "loras" for folder in ("webui-2", "webui-3")]
    folders = {"lora": loras, "hypernet": NETWORKS}
    return Engine.open(CHECKPOINT, models=folders, config=CONFIG, device="cpu")


@pytest.fixture(scope="module")
def weights(engine: Engine) -> list[Tensor]:
    """Copies of all weights that networks change."""
    return [tensor.clone() for tensor in tensors(engine)]


def tensors(engine: Engine) -> list[Tensor]:
    parts = (engine.checkpoint.unet, *engine.checkpoint.text_encoders)
    return [tensor for part in parts for tensor in part.state_dict().values()]


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(requests(), min_size=2, max_size=4),
    sampler=st.sampled_from(("Euler", "Heun", "DPM++ 2M")),
)
def test_rows_of_any_batch_are_what_each_is_alone(
    engine: Engine, weights: list[Tensor], rows: list[GenerationRequest], sampler: str
) -> None:
    rows = [replace(row, sampler=sampler) for row in rows]
    together = engine.generate_batch(rows)
    assert all(map(torch.equal, weights, tensors(engine)))
    for row, result in zip(rows, together, strict=True):
        alone = engine.generate(row)
        assert alone.latents.isfinite().all()
        # Merged weights and factors beside them round differently.
        assert (result.latents - alone.latents).abs().max() <= 1e-4 * alone.latents.abs().max()
        assert result.networks == alone.networks
        assert result.infotexts == alone.infotexts
    assert all(map(torch.equal, weights, tensors(engine)))
