"""Weights from the original layout to the modules of diffusers and transformers.

Every weight has exactly one place. Names that are not known stay as they are, so that who loads them
can say what is left over. Tensors are renamed, viewed or cut, never computed with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from torch import Tensor

__all__ = ["clip_weights", "open_clip_weights", "unet_weights", "vae_weights"]

Weights = Mapping[str, Tensor]

_UNET_ENDS: Final = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE: Final = {"0.": "resnets.0", "1.": "attentions.0", "2.": "resnets.1"}
_RESNET: Final = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_MIDDLE: Final = {
    "block_1": "resnets.0",
    "attn_1": "attentions.0",
    "block_2": "resnets.1",
}
_VAE_ATTENTION: Final = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
_OPEN_CLIP_LAYER: Final = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_OPEN_CLIP_ENDS: Final = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_OPEN_CLIP_UNUSED: Final = ("logit_scale", "attn_mask")


def unet_weights(weights: Weights, prefix: str, *, layers_per_block: int) -> dict[str, Tensor]:
    """Name a UNet's weights as diffusers' ``UNet2DConditionModel`` does.

    Args:
        weights: Names to tensors in the original layout.
        prefix: What the names of the UNet's weights begin with; others are left out.
        layers_per_block: Resnets of each level on the way down.
    """
    return {_unet_name(name, layers_per_block): tensor for name, tensor in _below(weights, prefix)}


def _unet_name(name: str, per_level: int) -> str:
    for original, ours in _UNET_ENDS.items():
        if name.startswith(original + "."):
            return ours + name.removeprefix(original)
    side, _, inner = name.partition(".")
    if side == "middle_block" and inner[:2] in _MIDDLE:
        return f"mid_block.{_MIDDLE[inner[:2]]}.{_resnet_name(inner[2:])}"
    parts = inner.split(".", 2)
    if side not in ("input_blocks", "output_blocks") or len(parts) < 3 or not _is_index(parts[0]):
        return name
    block, place, rest = int(parts[0]), parts[1], parts[2]
    if side == "input_blocks":
        level, index = divmod(block - 1, per_level + 1)
        if rest.startswith("op."):
            return f"down_blocks.{level}.downsamplers.0.conv.{rest.removeprefix('op.')}"
        root = f"down_blocks.{level}"
    else:
        level, index = divmod(block, per_level + 1)
        if rest.startswith("conv."):
            return f"up_blocks.{level}.upsamplers.0.{rest}"
        root = f"up_blocks.{level}"
    part = "resnets" if place == "0" else "attentions"
    return f"{root}.{part}.{index}.{_resnet_name(rest)}"


def _resnet_name(name: str) -> str:
    """Return a resnet's own parts; those of attention have the same names in both layouts."""
    return _renamed(name, _RESNET)


def _is_index(text: str) -> bool:
    return text.isdecimal() and len(text) < 5


def _renamed(name: str, names: Mapping[str, str]) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{names[stem]}.{kind}" if stem in names else name


def vae_weights(weights: Weights, prefix: str, *, levels: int) -> dict[str, Tensor]:
    """Name a VAE's weights as diffusers' ``AutoencoderKL`` does; its attention becomes linear.

    Args:
        weights: Names to tensors in the original layout.
        prefix: What the names of the VAE's weights begin with; others are left out.
        levels: Of the encoder, and of the decoder, which counts them from its end.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in _below(weights, prefix):
        new = _vae_name(name, levels)
        pointwise = ".mid_block.attentions." in new and tensor.ndim == 4
        named[new] = tensor[:, :, 0, 0] if pointwise else tensor
    return named


def _vae_name(name: str, levels: int) -> str:
    side, _, inner = name.partition(".")
    if side not in ("encoder", "decoder"):
        return name
    if inner.startswith("norm_out."):
        return f"{side}.conv_{inner}"
    part, *rest = inner.split(".")
    if part == "mid" and rest and rest[0] in _VAE_MIDDLE:
        names = _VAE_ATTENTION if rest[0] == "attn_1" else {"nin_shortcut": "conv_shortcut"}
        return f"{side}.mid_block.{_VAE_MIDDLE[rest[0]]}.{_renamed('.'.join(rest[1:]), names)}"
    if part not in ("down", "up") or len(rest) < 3 or not _is_index(rest[0]):
        return name
    level = int(rest[0]) if part == "down" else levels - 1 - int(rest[0])
    if rest[1] in ("downsample", "upsample"):
        return f"{side}.{part}_blocks.{level}.{rest[1]}rs.0.{'.'.join(rest[2:])}"
    own = _renamed(".".join(rest[3:]), {"nin_shortcut": "conv_shortcut"})
    return f"{side}.{part}_blocks.{level}.resnets.{rest[2]}.{own}"


def clip_weights(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Name the weights of a text encoder that is stored as transformers has it.

    Returns:
        Names without the ``text_model.`` that some releases put before them.
    """
    return {
        name.removeprefix("text_model."): tensor
        for name, tensor in _below(weights, prefix)
        if not name.endswith("position_ids")
    }


def open_clip_weights(weights: Weights, prefix: str, *, layers: int) -> dict[str, Tensor]:
    """Name an OpenCLIP text encoder's weights as transformers' CLIP does, its attention cut in three.

    Args:
        weights: Names to tensors in the original layout.
        prefix: What the names of the encoder's weights begin with; others are left out.
        layers: How many layers are wanted; later ones are left out.

    Returns:
        Names without ``text_model.``, and ``text_projection.weight`` where the file has one.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in _below(weights, prefix):
        if name == "text_projection":
            named["text_projection.weight"] = tensor.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            layer, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
            if _is_index(layer) and int(layer) < layers:
                named.update(_open_clip_layer(f"encoder.layers.{layer}.", rest, tensor))
        elif name not in _OPEN_CLIP_UNUSED:
            named[_OPEN_CLIP_ENDS.get(name, name)] = tensor
    return named


def _open_clip_layer(root: str, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        for projection, part in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{root}self_attn.{projection}_proj.{kind}", part
    else:
        yield root + _renamed(name, _OPEN_CLIP_LAYER), tensor


def _below(weights: Weights, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), tensor
