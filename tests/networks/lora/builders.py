"""LoRA modules and files of random numbers, and a UNet and text encoder to put them into."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from promptengine.networks.lora.algorithms.table import ALGORITHMS
from promptengine.networks.lora.delta import LoraModule, weight_delta
from promptengine.networks.lora.merge import Target, targets
from tests.conftest import CHECKPOINT, CONFIG

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def numbers(tensor: Tensor) -> Array:
    return tensor.double().numpy()


def module_of(algorithm: str, tensors: Mapping[str, Tensor], scale: float = 1.0) -> LoraModule:
    return LoraModule(ALGORITHMS[algorithm], tensors, scale)


def delta_of(
    algorithm: str,
    tensors: Mapping[str, Tensor],
    weight: Tensor,
    *,
    scale: float = 1.0,
    ranks: int | None = None,
) -> Array:
    """The change of a weight at multiplier 1."""
    found = weight_delta(module_of(algorithm, tensors, scale), weight, ranks=ranks)
    assert found is not None
    assert found.shape == weight.shape
    assert found.dtype == torch.float32
    return numbers(found)


def close(ours: Array, reference: Array) -> None:
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


@cache
def checkpoint() -> Checkpoint:
    """The tiny checkpoint; whoever changes its weights puts them back."""
    return open_checkpoint(CHECKPOINT, config=CONFIG)


def model() -> dict[str, Target]:
    return targets(checkpoint().unet, *checkpoint().text_encoders)


def module_at(path: str) -> nn.Module:
    return checkpoint().unet.get_submodule(path)


def write_lora(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    return path


def plain(prefix: str, out: int, into: int, *, rank: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """A plain LoRA of a linear layer, by kohya's names."""
    return {
        f"{prefix}.lora_up.weight": random(out, rank, seed=seed),
        f"{prefix}.lora_down.weight": random(rank, into, seed=seed + 1),
    }


MIDDLE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"
MIDDLE_PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_v"
"""A linear layer of the tiny checkpoint's UNet, 128 by 128, as kohya and as diffusers name it."""
