"""Full-size models with random weights: opened, asked for an image, and their memory measured.

Run ``python -m tests.checkpoints.full_size sd15|sd2|sdxl|refiner``. Needs free disk and memory of about the
size of a checkpoint: 4.3, 5.2, 7 and 6.2 GB. Prints what it cost; the images are noise.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from promptengine import Engine, GenerationRequest
from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.checkpoints.original import Original
from tests.networks.builders import random_network

WIDTHS = {
    "sd15": (320, 640, 768, 1280),
    "sd2": (320, 640, 1024, 1280),
    "sdxl": (640, 1280, 2048),
    "refiner": (768, 1280, 1536),
}
FAMILY = {"sd15": "SD1", "sd2": "SD2", "sdxl": "SDXL", "refiner": "SDXL refiner"}
DTYPE = {
    "sd15": torch.float32,
    "sd2": torch.float32,
    "sdxl": torch.bfloat16,
    "refiner": torch.bfloat16,
}


def text(width: int, layers: int, *, clip: bool) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        hidden_act="quick_gelu" if clip else "gelu",
        projection_dim=width,
    )


def configured(model: str) -> Original:
    """The model without memory: shapes alone."""
    crossed, plain = "CrossAttn{}Block2D", "{}Block2D"
    levels = {
        "sdxl": [plain, crossed, crossed],
        "refiner": [plain, crossed, crossed, plain],
    }.get(model, [crossed, crossed, crossed, plain])
    widths = (384, 768, 1536, 1536) if model == "refiner" else (320, 640, 1280, 1280)[: len(levels)]
    text_width = {"sd15": 768, "sd2": 1024, "sdxl": 2048, "refiner": 1280}[model]
    options: dict[str, Any] = {"cross_attention_dim": text_width}
    if model != "sd15":
        heads = tuple(width // 64 for width in widths)
        options |= {"attention_head_dim": heads, "use_linear_projection": True}
    if model in ("sdxl", "refiner"):
        options |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": {"sdxl": 2816, "refiner": 2560}[model],
            "transformer_layers_per_block": {"sdxl": (1, 2, 10), "refiner": (1, 4, 4, 4)}[model],
        }
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=widths,
            down_block_types=[level.format("Down") for level in levels],
            up_block_types=[level.format("Up") for level in reversed(levels)],
            **options,
        )
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
        encoders: tuple[Any, ...] = {
            "sd15": lambda: (CLIPTextModel(text(768, 12, clip=True)),),
            "sd2": lambda: (CLIPTextModel(text(1024, 23, clip=False)),),
            "sdxl": lambda: (
                CLIPTextModel(text(768, 12, clip=True)),
                CLIPTextModelWithProjection(text(1280, 32, clip=False)),
            ),
            "refiner": lambda: (CLIPTextModelWithProjection(text(1280, 32, clip=False)),),
        }[model]()
    return Original(FAMILY[model], unet, vae, encoders)


def write_random(shapes: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    """Write a safetensors file tensor by tensor, from one block of random numbers."""
    letters = {torch.float32: "F32", torch.bfloat16: "BF16"}[dtype]
    header: dict[str, object] = {}
    end = 0
    for name, tensor in shapes.items():
        begin, end = end, end + tensor.numel() * dtype.itemsize
        shape = list(tensor.shape)
        header[name] = {"dtype": letters, "shape": shape, "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, tensor in shapes.items():
            if tensor.ndim < 2:
                level = 1.0 if re.search(r"(norm\w*|ln_\w+|\.0)\.weight$", name) else 0.0
                values = torch.full((max(tensor.numel(), 1),), level)
            else:
                values = block * (0.5 / math.sqrt(max(tensor[0].numel(), 1)))
            content = values.to(dtype).view(torch.uint8).numpy()
            left = tensor.numel() * dtype.itemsize
            while left:
                file.write(content[:left].tobytes())
                left -= min(left, len(content))


def memory(name: str) -> int:
    """A line of the process's own memory, in bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def check(model: str, folder: Path) -> None:
    path, dtype = folder / f"{model}.safetensors", DTYPE[model]
    write_random(configured(model).weights(), path, dtype)
    (folder / "hypernetworks").mkdir()
    for name in ("one", "two"):
        network = random_network(WIDTHS[model], name=name)
        for tensor in network.parameters():
            tensor.mul_(0.05)
        save_hypernetwork(network, folder / "hypernetworks" / f"{name}.safetensors")
    size = path.stat().st_size
    before = memory("VmRSS")
    start = time.perf_counter()
    engine = Engine.open(path, models=folder, device="cpu", dtype=dtype)
    opened = time.perf_counter()
    peak = memory("VmHWM") - before
    parts = engine.checkpoint
    print(
        f"{model}: {parts.family}, {parts.prediction}, {parts.native_size} px, {size / 1e9:.2f} GB"
    )
    print(f"opened in {opened - start:.1f} s, peak {peak / size:.3f} of the file's size")
    request = GenerationRequest(
        prompt="a cat <hypernet:one:0.5> <hypernet:two:0.5>",
        seed=1,
        steps=2,
        width=256,
        height=256,
        sampler="Euler",
        policy="strict",
    )
    result = engine.generate(request)
    print(f"two steps of 256 x 256 in {time.perf_counter() - opened:.1f} s: {result.timings}")
    print(f"networks applied: {[report.applied for report in result.networks]}")
    peak = memory("VmHWM") - before
    print(f"peak {peak / size:.3f} of the file's size, private {memory('RssAnon') / 1e9:.2f} GB")
    assert result.latents.isfinite().all() and all(r.applied for r in result.networks)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("model", choices=WIDTHS)
    model = options.parse_args().model
    with tempfile.TemporaryDirectory() as folder:
        check(model, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
