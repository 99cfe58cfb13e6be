"""Names of tensors in LoRA files, read as modules of a model. Text only, no torch.

Every layout is read into one spelling of a module: the original (CompVis) layout with ``_`` for dots, as
WebUI has it, such as ``diffusion_model_input_blocks_1_1_proj_in``; ``unet_`` and the diffusers path for
layouts that spell diffusers paths with dots; ``transformer_text_model_…`` for the text encoder and
``transformer_2_text_model_…`` for SDXL's second one, which is its refiner's only one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from itertools import product
from typing import Final, NamedTuple

__all__ = [
    "BUNDLE_PREFIX",
    "TEXT_PREFIXES",
    "TensorName",
    "original_name",
    "parse_name",
    "stable_diffusion_1_modules",
]

BUNDLE_PREFIX: Final = "bundle_emb."
"""What names of textual-inversion embeddings inside a LoRA file begin with."""

_RESNET: Final = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_SINGLE: Final = {
    "conv_in": "input_blocks_0_0",
    "conv_norm_out": "out_0",
    "conv_out": "out_2",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
}
_PROJECTIONS: Final = ("to_q", "to_k", "to_v", "to_out_0")
_TRANSFORMER: Final = (
    *(f"attn{number}_{projection}" for number in (1, 2) for projection in _PROJECTIONS),
    *(f"norm{number}" for number in (1, 2, 3)),
    "ff_net_0_proj",
    "ff_net_2",
)
_TEXT_LAYER: Final = (
    *(f"self_attn_{projection}_proj" for projection in ("q", "k", "v", "out")),
    *("mlp_fc1", "mlp_fc2", "layer_norm1", "layer_norm2"),
)
_INNER: Final = re.compile(r"(down|up)_blocks_(\d{1,3})_(resnets|attentions)_(\d{1,3})_(.+)")
_MIDDLE: Final = re.compile(r"mid_block_(resnets|attentions)_(\d{1,3})_(.+)")
_SAMPLER: Final = re.compile(r"(down|up)_blocks_(\d{1,3})_(?:down|up)samplers_0_conv")

_UNET: Final = "unet_"
_ORIGINAL: Final = "diffusion_model_"
_TEXT: Final = "transformer_text_model_"
_TEXT_2: Final = "transformer_2_text_model_"
TEXT_PREFIXES: Final = (_TEXT, _TEXT_2)
"""What names of the modules of text encoders begin with, in the order of a model's encoders."""

_KOHYA: Final = {"te": _TEXT, "te1": _TEXT, "te2": _TEXT_2}
_KOHYA_NAME: Final = re.compile(r"lora_(unet|te[12]?)_([^.]+)\.(.+)", re.DOTALL)
_KOHYA_OFT_NAME: Final = re.compile(r"oft_unet_([^.]+)\.(.+)", re.DOTALL)
_KOHYA_TENSORS: Final = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
"""What peft calls tensors that some files name by kohya's prefixes."""
_PREFIXES: Final = {
    "unet.": _UNET,
    "text_encoder.": _TEXT,
    "text_encoder_2.": _TEXT_2,
    "text_encoders.clip_l.transformer.": _TEXT,
    "text_encoders.clip_g.transformer.": _TEXT_2,
    "diffusion_model.": _ORIGINAL,
}
_UNET_PATH: Final = re.compile(
    r"(down_blocks|up_blocks|mid_block|conv_in|conv_out|time_embedding)\."
)
_TEXT_PATH: Final = re.compile(r"(text_model\.)?(encoder\.layers|embeddings|final_layer_norm)\.")

# How the ends of dotted names are spelled, and what they are called here. The first that fits counts.
_ENDS: Final = (
    (re.compile(r"\.lora_A(\.\w+)?\.weight$"), "lora_down.weight"),
    (re.compile(r"\.lora_B(\.\w+)?\.weight$"), "lora_up.weight"),
    (re.compile(r"\.lora(_linear_layer)?\.down\.weight$"), "lora_down.weight"),
    (re.compile(r"\.lora(_linear_layer)?\.up\.weight$"), "lora_up.weight"),
    (re.compile(r"\.lora_down\.weight$"), "lora_down.weight"),
    (re.compile(r"\.lora_up\.weight$"), "lora_up.weight"),
    (re.compile(r"\.lora_mid\.weight$"), "lora_mid.weight"),
    (re.compile(r"\.lora_magnitude_vector(\.\w+){0,2}$"), "lora_magnitude_vector"),
    (re.compile(r"_lora\.down\.weight$"), "lora_down.weight"),
    (re.compile(r"_lora\.up\.weight$"), "lora_up.weight"),
)
# What peft puts around modules, and names in some files.
_WRAPPER: Final = re.compile(r"\.(?:base_layer|modules_to_save(?:\.\w+)?)$")
# Old diffusers files name projections of the text encoder as those of the UNet.
_OLD_PROJECTIONS: Final = {
    "to_q": "q_proj",
    "to_k": "k_proj",
    "to_v": "v_proj",
    "to_out": "out_proj",
}


class TensorName(NamedTuple):
    """A tensor's name, read.

    Attributes:
        module: The module that it changes, in the spelling of this module's docstring.
        tensor: What it is there, in kohya's words, such as ``lora_down.weight`` or ``alpha``.
        path: The module as the file spells it, without prefix.
        kohya: Whether it is spelled with kohya's prefixes, not with dots.
    """

    module: str
    tensor: str
    path: str
    kohya: bool = False


def parse_name(name: str) -> TensorName | None:
    """Read a tensor's name in any layout, or return None for a name that no LoRA has.

    Kohya's ``lora_unet_…`` names spell a diffusers path or an original one. The former are converted by
    the block numbers of Stable Diffusion 1 (two residual blocks a level), whatever the model: WebUI's
    rule; so is that ``oft_unet_…`` names spell original paths only. Dotted paths (diffusers, peft) are taken
    as they stand.
    """
    if found := _KOHYA_NAME.fullmatch(name):
        part, path = found[1], found[2]
        tensor = _KOHYA_TENSORS.get(found[3], found[3])
        if part == "unet":
            return TensorName(_ORIGINAL + (original_name(path) or path), tensor, path, kohya=True)
        # Both ways of writing agree from "encoder" on.
        module = _KOHYA[part] + path.removeprefix("text_model_")
        return TensorName(module, tensor, path, kohya=True)
    if found := _KOHYA_OFT_NAME.fullmatch(name):
        return TensorName(_ORIGINAL + found[1], found[2], found[1], kohya=True)
    return _parse_dotted(name)


def _parse_dotted(name: str) -> TensorName | None:
    name = name.removeprefix("base_model.model.")
    part, rest = next(
        ((part, name.removeprefix(p)) for p, part in _PREFIXES.items() if name.startswith(p)),
        (_UNET if _UNET_PATH.match(name) else _TEXT if _TEXT_PATH.match(name) else "", name),
    )
    if not part:
        return None
    path, tensor = _split(rest)
    if not path or not tensor:
        return None
    path = _WRAPPER.sub("", path.removeprefix("base_model.model.").replace(".processor", ""))
    spelled = path
    above, _, last = path.rpartition(".")
    if part == _UNET:
        path += ".0" if last == "to_out" else ""
    elif part != _ORIGINAL:
        path = f"{above}.{_OLD_PROJECTIONS.get(last, last)}".removeprefix(".")
        path = path.removeprefix("text_model.")
    return TensorName(part + path.replace(".", "_"), tensor, spelled)


def _split(name: str) -> tuple[str, str]:
    """Cut a dotted name into the module's path, which may be empty, and the tensor's name."""
    for end, tensor_name in _ENDS:
        if found := end.search(name):
            return name[: found.start()], tensor_name
    path, _, tensor_name = name.rpartition(".")
    return path, tensor_name


def original_name(
    name: str, *, layers: int = 2, plain_up: Collection[int] = frozenset({0})
) -> str | None:
    """Convert a UNet module's diffusers name to its name in the original layout.

    Args:
        name: Path of the module with ``_`` for dots, such as ``down_blocks_0_resnets_1_conv1``.
        layers: Residual blocks of a level on the way down; the way up has one more.
        plain_up: Levels of the way up without attention, where the upsampler moves up a place.

    Returns:
        Such as ``input_blocks_2_0_in_layers_2``, or None for a name that is none of a UNet's.
    """
    if name in _SINGLE:
        return _SINGLE[name]
    if found := _INNER.fullmatch(name):
        way, level, kind, number, rest = found.groups()
        index = int(level) * (layers + 1) + int(number) + (way == "down")
        side = "input" if way == "down" else "output"
        return f"{side}_blocks_{index}_{_inside(kind, rest)}"
    if found := _MIDDLE.fullmatch(name):
        kind, number, rest = found.groups()
        inside = _inside(kind, rest)
        # Between the residual blocks 0 and 2 lies the attention, 1.
        return f"middle_block_{int(number) * 2 + int(inside[0])}_{inside[2:]}"
    if found := _SAMPLER.fullmatch(name):
        way, level = found[1], int(found[2])
        if way == "down":
            return f"input_blocks_{(level + 1) * (layers + 1)}_0_op"
        place = 1 if level in plain_up else 2
        return f"output_blocks_{level * (layers + 1) + layers}_{place}_conv"
    return None


@cache
def stable_diffusion_1_modules() -> frozenset[str]:
    """Return all modules that a Stable Diffusion 1 model may have, in the spelling of this module.

    Shortcuts of residual blocks are listed for every block, though some have none.
    """
    attention = ["norm", "proj_in", "proj_out"]
    attention += [f"transformer_blocks_0_{rest}" for rest in _TRANSFORMER]
    unet = list(_SINGLE)
    for way, count, attended in (("down", 2, (0, 1, 2)), ("up", 3, (1, 2, 3))):
        for level, number in product(range(4), range(count)):
            unet += [f"{way}_blocks_{level}_resnets_{number}_{rest}" for rest in _RESNET]
            if level in attended:
                unet += [f"{way}_blocks_{level}_attentions_{number}_{rest}" for rest in attention]
        unet += [f"{way}_blocks_{level}_{way}samplers_0_conv" for level in range(4)]
    unet += [f"mid_block_resnets_{number}_{rest}" for number in (0, 1) for rest in _RESNET]
    unet += [f"mid_block_attentions_0_{rest}" for rest in attention]
    text = ["final_layer_norm", "embeddings_token_embedding", "embeddings_position_embedding"]
    text += [f"encoder_layers_{layer}_{rest}" for layer in range(12) for rest in _TEXT_LAYER]
    original = {f"{_ORIGINAL}{original_name(name)}" for name in unet}
    return frozenset(original | {_UNET + name for name in unet} | {_TEXT + name for name in text})


def _inside(kind: str, rest: str) -> str:
    """Return a module within a block: first the residual block, then the attention."""
    return f"0_{_RESNET.get(rest, rest)}" if kind == "resnets" else f"1_{rest}"
