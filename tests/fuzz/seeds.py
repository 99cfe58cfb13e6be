"""Whole files of every kind, small, from which mutated ones are made."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import torch
from PIL import Image
from safetensors.torch import save

from promptengine.images.save import encode_image
from promptengine.infotext.read import Infotext
from promptengine.networks.hypernetwork.files import save_hypernetwork
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from tests.conftest import CONFIG
from tests.networks.builders import random_network
from tests.super_resolution.builders import compact, rrdb, swinir
from tests.text.textual_inversion.builders import (
    as_json,
    vectors,
    write_pixel_image,
    write_text_image,
)

__all__ = ["seeds_of"]

_INFOTEXT = Infotext(
    "a (kite:1.2), <hypernet:ink:0.5>\non a hill",
    "blurry",
    {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7", "Seed": "1", "Size": "64x64"},
)
_NOVELAI = {
    "Software": "NovelAI",
    "Description": "a kite",
    "Comment": '{"steps": 28, "sampler": "k_euler", "seed": 1, "scale": 11.0, "uc": "bad"}',
}
_YAML = """model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    image_size: 64
    scale_factor: 0.18215
    parameterization: "v"
    unet_config:
      target: x
      params:
        num_head_channels: 64
        model_channels: 320
        channel_mult: [ 1, 2, 4, 4 ]
"""


_ALGORITHMS = (
    {
        "a1.weight": (2, 4),
        "a2.weight": (4, 2),
        "b1.weight": (2, 4),
        "b2.weight": (4, 2),
        "alpha": (),
    },
    {"oft_blocks": (2, 2, 2), "rescale": (4, 1), "alpha": ()},
    {"oft_blocks": (2, 2, 2, 2), "rescale": (4, 1)},
    {"oft_diag": (2, 2, 2)},
    {f"hada_w{n}_{x}": (4, 2) if x == "a" else (2, 4) for n in (1, 2) for x in "ab"},
    {"lokr_w1": (2, 2), "lokr_w2_a": (2, 1), "lokr_w2_b": (1, 2), "alpha": (), "bias": (4, 4)},
    {"diff": (4, 4), "diff_b": (4,), "dora_scale": (4, 1)},
    {"w_norm": (4,), "b_norm": (4,)},
)
"""Names and shapes of the tensors that each algorithm of the LoRA family changes a 4 x 4 weight with."""


def _image(mode: str = "RGB") -> Image.Image:
    return Image.frombytes("RGB", (24, 16), Random(0).randbytes(24 * 16 * 3)).convert(mode)


def _encoded(form: str, **options: object) -> bytes:
    file = io.BytesIO()
    _image("P" if form == "GIF" else "RGB").save(file, form, **options)
    return file.getvalue()


def _saved(content: object, *, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _packed(tensors: Mapping[str, torch.Tensor], said: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file whose metadata have one order; the library has none."""
    content = save(dict(tensors), None if said is None else dict(said))
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    if said:
        header["__metadata__"] = dict(sorted(said.items()))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[start:]


def _through_file(write: Callable[[Path], object], folder: Path, name: str) -> bytes:
    path = folder / name
    write(path)
    return path.read_bytes()


def _images(folder: Path) -> dict[str, list[bytes]]:
    from PIL.PngImagePlugin import PngInfo

    novelai = PngInfo()
    for keyword, text in _NOVELAI.items():
        novelai.add_text(keyword, text)
    novelai.add_text("zipped", "z" * 500, zip=True)
    novelai.add_itxt("both", "猫" * 50, zip=True)
    frames = {"save_all": True, "append_images": [_image(), _image()]}
    return {
        "png": [
            encode_image(_image(), ".png", _INFOTEXT),
            _encoded("PNG", pnginfo=novelai),
            _encoded("PNG", **frames),
        ],
        "jpeg": [encode_image(_image(), ".jpg", _INFOTEXT), _encoded("JPEG", comment=b"a kite")],
        "webp": [encode_image(_image(), ".webp", _INFOTEXT), _encoded("WEBP", lossless=True)],
        "gif": [_encoded("GIF", comment=str(_INFOTEXT).encode()), _encoded("GIF", save_all=True)],
        "embedding png": [
            _through_file(lambda p: write_text_image(p, as_json(vectors())), folder, "a.png"),
            _through_file(lambda p: write_pixel_image(p, as_json(vectors())), folder, "b.png"),
        ],
    }


def _pickles(folder: Path) -> dict[str, list[bytes]]:
    network = random_network([4, 6], HypernetworkSettings(activation="relu", layer_norm=True))
    state = {"linear.0.weight": torch.ones(8, 4), "linear.0.bias": torch.ones(8)}
    state |= {"linear.1.weight": torch.ones(4, 8), "linear.1.bias": torch.ones(4)}
    word = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors()}, "step": 5}
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors())})
    weights = OrderedDict(
        (f"model.diffusion_model.{name}.weight", torch.ones(2, 2)) for name in "abcd"
    )
    checkpoint = {
        "state_dict": weights,
        "epoch": 1,
        "tied": weights["model.diffusion_model.a.weight"],
    }
    upscalers = (rrdb(), rrdb(layout="old"), compact(), swinir())
    return {
        "upscaler pth": [_saved({"params_ema": weights}) for weights in upscalers],
        "hypernetwork pt": [
            _through_file(lambda p: save_hypernetwork(network, p), folder, "a.pt"),
            _saved({4: (state, state), "name": "ink"}),
        ],
        "hypernetwork legacy": [
            _saved({4: (state, state), "layer_structure": [1, 2, 1]}, legacy=True)
        ],
        "embedding pt": [
            _saved(word),
            _saved(word | {"string_to_param": parameters}),
            _saved({"a": vectors()}),
        ],
        "checkpoint ckpt": [
            _saved(checkpoint),
            _saved(checkpoint, legacy=True),
            pickle.dumps({"a": 1}, 2),
        ],
    }


def _safetensors(folder: Path) -> list[bytes]:
    network = random_network([4, 6])
    lora = {
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": torch.ones(2, 4),
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": torch.ones(4, 2),
        "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": torch.tensor(1.0),
        "lora_unet_down_blocks_0_attentions_0_proj_in.dora_scale": torch.ones(1, 4),
        "bundle_emb.word.emb_params": vectors(),
    }
    algorithms = {
        f"lora_unet_{number}.{name}": torch.ones(shape)
        for number, tensors in enumerate(_ALGORITHMS)
        for name, shape in tensors.items()
    }
    algorithms["lora_unet_ia3.on_input"] = torch.tensor(True)
    algorithms["lora_unet_ia3.weight"] = torch.ones(4)
    peft = {f"base_model.model.unet.a.to_q.lora_{x}.weight": torch.ones(2, 2) for x in "AB"}
    model = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(4, 4, 3, 3),
        "first_stage_model.encoder.conv_in.weight": torch.ones(1),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.ones(1, 7).long(),
        "v_pred": torch.ones(0),
    }
    said = {"promptengine.config": json.dumps({"scheduler": {"beta_start": 0.1}})}
    return [
        _through_file(lambda p: save_hypernetwork(network, p), folder, "a.safetensors"),
        _packed(lora, {"ss_output_name": "ink", "ss_tag_frequency": '{"a": {"b": 1}}'}),
        _packed(algorithms),
        _packed(peft),
        _packed({"emb_params": vectors()}, {"name": "ink"}),
        _packed({"clip_l": vectors(2, 8), "clip_g": vectors(2, 12)}),
        _packed(model, said | {"modelspec.prediction_type": "v"}),
    ]


def seeds_of(folder: Path) -> Mapping[str, list[bytes]]:
    """Whole files by kind.

    Args:
        folder: Where some are written on the way.
    """
    configs = [path.read_bytes() for path in sorted(CONFIG.rglob("*.json"))]
    peft = b'{"r": 4, "lora_alpha": 8, "alpha_pattern": {"a.to_q": 2}, "use_rslora": true}'
    return {
        **_images(folder),
        "infotext": [
            str(_INFOTEXT).encode(),
            b'\xef\xbb\xbfa kite\r\nSteps: 1, a: b, c: "d", Hashes: {}',
        ],
        **_pickles(folder),
        "safetensors": _safetensors(folder),
        "yaml": [_YAML.encode(), _YAML.replace("unet_config", "network_config").encode()],
        "json": [*configs, peft, b'{"description": "a", "activation text": "kite"}'],
    }
