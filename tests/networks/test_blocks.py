"""Networks by block, against every module's weight and input computed here, on the shapes of both families."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from promptengine.kinds import AskedBlocks, BlockWeights, PresetTable
from promptengine.kinds.blocks import BLOCKS
from promptengine.networks.blocks import UNetBlocks
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.keys import original_name
from promptengine.networks.lora.merge import Application, fit_lora, merge, targets
from tests.networks.builders import TEXT, random_network
from tests.networks.lora.builders import random, write_lora

# Where the blocks of both families lie, by the beginnings of diffusers paths: written out by hand.
SD1 = """
IN00 conv_in
IN01 down_blocks.0.resnets.0 down_blocks.0.attentions.0
IN02 down_blocks.0.resnets.1 down_blocks.0.attentions.1
IN03 down_blocks.0.downsamplers.0
IN04 down_blocks.1.resnets.0 down_blocks.1.attentions.0
IN05 down_blocks.1.resnets.1 down_blocks.1.attentions.1
IN06 down_blocks.1.downsamplers.0
IN07 down_blocks.2.resnets.0 down_blocks.2.attentions.0
IN08 down_blocks.2.resnets.1 down_blocks.2.attentions.1
IN09 down_blocks.2.downsamplers.0
IN10 down_blocks.3.resnets.0
IN11 down_blocks.3.resnets.1
MID mid_block
OUT00 up_blocks.0.resnets.0
OUT01 up_blocks.0.resnets.1
OUT02 up_blocks.0.resnets.2 up_blocks.0.upsamplers.0
OUT03 up_blocks.1.resnets.0 up_blocks.1.attentions.0
OUT04 up_blocks.1.resnets.1 up_blocks.1.attentions.1
OUT05 up_blocks.1.resnets.2 up_blocks.1.attentions.2 up_blocks.1.upsamplers.0
OUT06 up_blocks.2.resnets.0 up_blocks.2.attentions.0
OUT07 up_blocks.2.resnets.1 up_blocks.2.attentions.1
OUT08 up_blocks.2.resnets.2 up_blocks.2.attentions.2 up_blocks.2.upsamplers.0
OUT09 up_blocks.3.resnets.0 up_blocks.3.attentions.0
OUT10 up_blocks.3.resnets.1 up_blocks.3.attentions.1
OUT11 up_blocks.3.resnets.2 up_blocks.3.attentions.2
"""
SDXL = """
IN00 conv_in
IN01 down_blocks.0.resnets.0
IN02 down_blocks.0.resnets.1
IN03 down_blocks.0.downsamplers.0
IN04 down_blocks.1.resnets.0 down_blocks.1.attentions.0
IN05 down_blocks.1.resnets.1 down_blocks.1.attentions.1
IN06 down_blocks.1.downsamplers.0
IN07 down_blocks.2.resnets.0 down_blocks.2.attentions.0
IN08 down_blocks.2.resnets.1 down_blocks.2.attentions.1
MID mid_block
OUT00 up_blocks.0.resnets.0 up_blocks.0.attentions.0
OUT01 up_blocks.0.resnets.1 up_blocks.0.attentions.1
OUT02 up_blocks.0.resnets.2 up_blocks.0.attentions.2 up_blocks.0.upsamplers.0
OUT03 up_blocks.1.resnets.0 up_blocks.1.attentions.0
OUT04 up_blocks.1.resnets.1 up_blocks.1.attentions.1
OUT05 up_blocks.1.resnets.2 up_blocks.1.attentions.2 up_blocks.1.upsamplers.0
OUT06 up_blocks.2.resnets.0
OUT07 up_blocks.2.resnets.1
OUT08 up_blocks.2.resnets.2
"""
MAPS = {"sd1": SD1, "sdxl": SDXL}
ATTENDED = {
    "sd1": set(BLOCKS[17]) - {"BASE"},
    "sdxl": set(BLOCKS[12]) - {"BASE"},
}


@cache
def unet(family: str) -> UNet2DConditionModel:
    torch.manual_seed(0)
    shapes = {
        "sd1": {
            "block_out_channels": (8, 16, 32, 32),
            "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        },
        "sdxl": {
            "block_out_channels": (8, 16, 32),
            "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 2),
            "up_block_types": (*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 3),
            "use_linear_projection": True,
        },
    }
    made = UNet2DConditionModel(
        sample_size=16,
        layers_per_block=2,
        cross_attention_dim=TEXT,
        norm_num_groups=4,
        attention_head_dim=4,
        **shapes[family],
    )
    return made.eval().requires_grad_(False)


@cache
def encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return CLIPTextModel(config).eval().requires_grad_(False)


def block_of(family: str, path: str) -> str | None:
    for line in MAPS[family].split("\n"):
        block, *starts = line.split() or ["", ""]
        if any(path == start or path.startswith(f"{start}.") for start in starts if start):
            return block
    return None


def weighted(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield path, module


def weights(size: int) -> BlockWeights:
    """Another number for each block, one of them 0 and some negative."""
    numbers = [f"{(n * 7 % size - 2) / 4}" for n in range(size)]
    return AskedBlocks(",".join(numbers)).resolve(PresetTable())


@pytest.mark.parametrize("family", MAPS)
def test_every_module_lies_in_its_block(family: str) -> None:
    model = unet(family)
    blocks = UNetBlocks(path for path, _ in model.named_modules())
    plain_up = {"sd1": {0}, "sdxl": {2}}[family]
    seen: set[str | None] = set()
    for path, _ in weighted(model):
        block = blocks.of(path)
        assert block == block_of(family, path), path
        seen.add(block)
        # The extension looks for the beginning of the original name.
        original = original_name(path.replace(".", "_"), plain_up=plain_up)
        side = {"I": "input_blocks", "M": "middle_block", "O": "output_blocks"}
        if block is None:
            assert original is not None and original.startswith(("time_embed", "out_"))
        else:
            digits = block.lstrip("INOUTMD")
            start = f"{side[block[0]]}_{f'{int(digits)}_' if digits else ''}"
            assert original is not None and original.startswith(start)
    assert seen - {None} == {*BLOCKS[26 if family == "sd1" else 20]} - {"BASE"}


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("family", MAPS)
def test_each_weight_changes_by_its_blocks_number(tmp_path: Path, family: str, size: int) -> None:
    tensors: dict[str, Tensor] = {}
    changes: dict[nn.Module, tuple[str | None, Tensor]] = {}
    for part, model in (("unet", unet(family)), ("text_encoder", encoder())):
        for number, (path, module) in enumerate(weighted(model)):
            out, into, *kernel = module.weight.shape
            up = random(out, 1, *[1] * len(kernel), seed=number)
            down = random(1, into, *kernel, seed=-number)
            tensors[f"{part}.{path}.lora_up.weight"] = up
            tensors[f"{part}.{path}.lora_down.weight"] = down
            block = "BASE" if part != "unet" else block_of(family, path)
            changes[module] = block, torch.einsum("or,r...->o...", up.flatten(1), down)
    lora = load_lora(write_lora(tmp_path / "a.safetensors", tensors))
    fitted = fit_lora(lora, targets(unet(family), encoder()))
    assert not fitted.unmatched
    found = weights(size)
    merged = merge([Application(fitted, text=0.5, unet=-2.0, blocks=found)])
    after = {slot.module: tensor for slot, tensor in merged.items()}
    numbers = dict(zip(BLOCKS[size], found.numbers, strict=True))
    untouched = 0
    for module, (block, change) in changes.items():
        factor = 1.0 if block is None else numbers.get(block, 0.0)
        if factor == 0:
            assert module not in after
            untouched += 1
            continue
        multiplier = (0.5 if block == "BASE" else -2.0) * factor
        expected = module.weight.double() + multiplier * change.double()
        torch.testing.assert_close(after[module].double(), expected, rtol=1e-5, atol=1e-5)
    assert 0 < untouched < len(changes)


def test_weights_of_0_everywhere_change_nothing(tmp_path: Path) -> None:
    path = "mid_block.attentions.0.proj_in"
    up, down = (random(*s) for s in ((32, 1, 1, 1), (1, 32, 1, 1)))
    lora = load_lora(
        write_lora(
            tmp_path / "a.safetensors",
            {f"unet.{path}.lora_up.weight": up, f"unet.{path}.lora_down.weight": down},
        )
    )
    fitted = fit_lora(lora, targets(unet("sd1")))
    presets = PresetTable()
    changes = {
        name: Application(fitted, blocks=AskedBlocks(name).resolve(presets)).changes
        for name in ("ALL", "MID", "NONE", "INALL", "OUTALL")
    }
    assert changes == {"ALL": True, "MID": True, "NONE": False, "INALL": False, "OUTALL": False}


LINEAR = HypernetworkSettings(structure=(1.0, 2.0, 1.0))
Hook = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]


@contextmanager
def hooked(model: nn.Module, family: str, network: Hypernetwork, factor: Callable[[str], float]):
    """Let a network act on every attention by hand, multiplied by block."""

    def change(residual: nn.Module, multiplier: float, _: nn.Module, inputs: tuple[Tensor, ...]):
        return (inputs[0] + multiplier * residual.linear(inputs[0]), *inputs[1:])

    handles = []
    for path, module in weighted(model):
        part = {"to_k": "key", "to_v": "value"}.get(path.rpartition(".")[2])
        block = block_of(family, path)
        if part is None or block is None or str(module.in_features) not in network.layers:
            continue
        residual = network.layers[str(module.in_features)][part]
        handles.append(module.register_forward_pre_hook(partial(change, residual, factor(block))))
    assert handles
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("settings", [HypernetworkSettings(activation="relu"), LINEAR])
@pytest.mark.parametrize("family", MAPS)
def test_a_hypernetwork_acts_by_block(family: str, settings: HypernetworkSettings) -> None:
    model = unet(family)
    network = random_network((8, 16, 32, TEXT), settings)
    size = 17 if family == "sd1" else 12
    found = weights(size)
    numbers = dict(zip(BLOCKS[size], found.numbers, strict=True))
    noise, text = random(2, 4, 16, 16), random(2, 5, TEXT)

    def answer() -> Tensor:
        with torch.no_grad():
            return model(noise, torch.tensor([5.0, 5.0]), text, return_dict=False)[0]

    plain = answer()
    with hooked(model, family, network, lambda block: 0.4 * numbers[block]):
        expected = answer()
    with inject_hypernetworks(model, [(network, 0.4, found)]):
        ours = answer()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert (ours - plain).abs().max() > 1e-3
    with inject_hypernetworks(model, [(network, 0.4)]):
        assert (answer() - ours).abs().max() > 1e-3
    assert torch.equal(answer(), plain)


def test_rows_may_have_weights_of_their_own() -> None:
    model, network = unet("sd1"), random_network((8, 16, 32, TEXT))
    presets = PresetTable()
    shallow, deep = (AskedBlocks(name).resolve(presets) for name in ("INS", "MIDD"))
    noise, text = random(2, 4, 16, 16), random(2, 5, TEXT)

    def answer(rows: slice) -> Tensor:
        with torch.no_grad():
            return model(noise[rows], torch.tensor(5.0), text[rows], return_dict=False)[0]

    singles: list[Tensor] = []
    for row, blocks in enumerate((shallow, deep)):
        with inject_hypernetworks(model, [(network, 1.0, blocks)]):
            singles.append(answer(slice(row, row + 1)))
    with inject_hypernetworks(model) as injection:
        injection.choose([(network, 1.0, shallow)], [(network, 1.0, deep)])
        together = answer(slice(None))
    torch.testing.assert_close(together, torch.cat(singles), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", MAPS)
def test_the_lists_of_plain_loras_hold_the_blocks_with_attention(family: str) -> None:
    blocks = UNetBlocks(path for path, _ in unet(family).named_modules())
    found = {blocks.of(path) for path, _ in weighted(unet(family)) if ".attentions." in path}
    assert found == ATTENDED[family]
