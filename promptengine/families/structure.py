"""What a checkpoint's weights make, told from their names and shapes in the original layout.

From a few of the weights follows how many levels, layers and heads of what width there are, and from
that which weights there must be. So it is known before anything is built what is missing, and what no
part of the model reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from promptengine.errors import CheckpointError
from promptengine.families.config import ModelConfig, PipelineConfigs
from promptengine.families.detect import (
    UNET_PREFIX,
    VAE_PREFIX,
    Shapes,
)
from promptengine.families.specs import FAMILIES, Family, TextEncoderSpec

__all__ = ["Structure", "grouped", "layers_read", "read_structure", "read_vae_structure"]

_RESNET: Final = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3")
_SKIP: Final = "skip_connection"
_PROJECTED: Final = ("to_q", "to_k", "to_v")
_ATTENTION: Final = (
    *(f"attn{n}.{name}.weight" for n in (1, 2) for name in _PROJECTED),
    *(
        f"{name}.{end}"
        for end in ("weight", "bias")
        for name in (
            "attn1.to_out.0",
            "attn2.to_out.0",
            "norm1",
            "norm2",
            "norm3",
            "ff.net.0.proj",
            "ff.net.2",
        )
    ),
)
_VAE_RESNET: Final = ("norm1", "conv1", "norm2", "conv2")
_CLIP_LAYER: Final = (
    *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
    *("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"),
)
_OPEN_CLIP_LAYER: Final = ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj", "attn.out_proj")
_OPEN_CLIP_H_READ: Final = 23  # layers of SD2's encoder that are read; whole files hold one more

# Weights of these names belong to layers: one that the model has no layer for is no mere stranger.
_OF_LAYERS: Final = re.compile(
    r"(?:input_blocks|output_blocks)\.\d+\.\d+\.(?:{inner}|op|conv)\..*"
    r"|middle_block\.\d+\.(?:{inner})\..*|label_emb\..*".format(
        inner=r"in_layers\.\d|emb_layers\.1|out_layers\.\d|skip_connection|norm|proj_in|proj_out"
        r"|transformer_blocks\.\d+\.(?:attn[12]\.to_(?:[qkv]|out\.0)|norm\d|ff\.net\.\d(?:\.proj)?)"
    )
    + r"|(?:encoder|decoder)\.(?:down|up)\.\d+\.(?:block|attn|downsample|upsample)\..*"
)
_TABLES: Final = re.compile(
    r"betas|alphas_cumprod(?:_prev)?|sqrt_\w+|log_one_minus_alphas_cumprod|posterior_\w+|logvar"
    r"|lvlb_weights|scale_factor|denoiser\.\w+|v_pred|ztsnr|model_ema\.(?:decay|num_updates)"
)
_MOST_NAMED: Final = 4
_LATENT_CHANNELS: Final = 4


@dataclass(frozen=True, slots=True)
class Structure:
    """What weights make.

    Attributes:
        facts: Configurations of the parts, in diffusers' and transformers' words: what weights show.
        left_aside: Names of weights that no part of the model reads.
    """

    facts: PipelineConfigs
    left_aside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A part: its configuration, the weights it must have, and those it may have unused."""

    prefix: str
    facts: ModelConfig
    needed: frozenset[str]
    unused: frozenset[str] = frozenset()

    def require(self, names: frozenset[str], path: Path) -> None:
        """Check that all is there, and no layers beside."""
        missing = sorted(self.needed - names)
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            message = f"not complete: it has no weight {missing[0]!r}{more}"
            raise CheckpointError(message, path=path)
        strange = sorted(
            name
            for name in names - self.needed - self.unused
            if name.startswith(self.prefix) and _OF_LAYERS.fullmatch(name, len(self.prefix))
        )
        if strange:
            message = f"it has layers that no known model of its shape has ({grouped(strange)})"
            raise CheckpointError(message, path=path)


def read_structure(
    shapes: Shapes, family: Family, path: Path, *, vae_path: Path | None = None
) -> Structure:
    """Work out what a checkpoint's weights make.

    Args:
        shapes: Names of weights in the original layout, with their shapes.
        family: Of the model.
        path: The checkpoint, for messages.
        vae_path: Where the VAE among the weights came from, if not from there.

    Returns:
        The structure; ``facts["vae"]`` is empty where there is no VAE.

    Raises:
        CheckpointError: A weight is missing, or there are layers that no known model has.
    """
    names = frozenset(shapes)
    with _explained(path):
        plans = _model(shapes, family)
    for plan in plans.values():
        plan.require(names, path)
    if any(name.startswith(VAE_PREFIX) for name in names):
        plans["vae"] = _whole_vae(shapes, vae_path or path, separate=vae_path is not None)
    known = frozenset[str]().union(*(plan.needed | plan.unused for plan in plans.values()))
    left = sorted(name for name in names - known if not _TABLES.fullmatch(name))
    facts = {part: plan.facts for part, plan in plans.items()}
    return Structure({"vae": {}, **facts}, tuple(left))


def read_vae_structure(shapes: Shapes, path: Path) -> Structure:
    """Work out what the weights of a VAE alone make, named as a checkpoint has them.

    Raises:
        CheckpointError: A weight is missing, or there are layers that no known VAE has.
    """
    plan = _whole_vae(shapes, path, separate=True)
    return Structure({"vae": plan.facts}, tuple(sorted(set(shapes) - plan.needed)))


def grouped(names: Iterable[str]) -> str:
    """Name weights by what their names begin with, such as ``first_stage_model.loss.* (12), x``."""
    names = list(names)
    roots = Counter(".".join(name.split(".")[:2]) for name in names)
    shown = [
        f"{root}.* ({count})" if count > 1 else next(n for n in names if f"{n}.".startswith(root))
        for root, count in roots.items()
    ]
    return ", ".join(shown[:_MOST_NAMED]) + (", …" if len(shown) > _MOST_NAMED else "")


@contextmanager
def _explained(path: Path) -> Generator[None]:
    """Say in one line why weights make nothing known."""
    try:
        yield
    except KeyError as missing:
        message = f"not complete: it has no weight {missing}"
        raise CheckpointError(message, path=path) from None
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        message = "its weights do not have the shapes of a Stable Diffusion model"
        raise CheckpointError(message, path=path) from None


def _whole_vae(shapes: Shapes, path: Path, *, separate: bool) -> _Plan:
    """Return the VAE among weights; what is wrong with it is said of it, with the remedy."""
    try:
        with _explained(path):
            plan = _vae(shapes)
        channels = plan.facts["latent_channels"]
        if channels != _LATENT_CHANNELS:
            message = (
                f"it has {channels} latent channels, as of Stable Diffusion 3 or Flux, and this "
                f"model needs {_LATENT_CHANNELS}"
            )
            raise CheckpointError(message, path=path)
        plan.require(frozenset(shapes), path)
    except CheckpointError as error:
        reason = str(error).removeprefix(f"{path}: ")
        remedy = "choose another" if separate else "name another one"
        message = f"its VAE cannot be used: {reason}; {remedy} with --vae"
        if separate:
            message = f"the VAE does not fit: {reason}; {remedy} with --vae"
        raise CheckpointError(message, path=path) from None
    return plan


def _model(shapes: Shapes, family: Family) -> dict[str, _Plan]:
    """Return the parts of a model but its VAE."""
    spec, unet = FAMILIES[family], _unet(shapes, family)
    plans = [_text_encoder(shapes, encoder) for encoder in spec.encoders]
    if spec.told_numbers:
        added = unet.facts["projection_class_embeddings_input_dim"]
        # The rest of the vector are numbers, each of one width.
        rest = added - plans[-1].facts["projection_dim"]
        sizes = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": rest // spec.told_numbers,
        }
        unet = replace(unet, facts={**unet.facts, **sizes})
    named = zip(spec.encoders, plans, strict=True)
    return {"unet": unet, **{encoder.part: plan for encoder, plan in named}}


def _text_encoder(shapes: Shapes, encoder: TextEncoderSpec) -> _Plan:
    if encoder.open_clip:
        return _open_clip(shapes, encoder.prefix, projected=encoder.projected)
    return _clip(shapes, encoder.prefix)


def _count(names: Iterable[str], before: str, after: str) -> int:
    """Return one more than the highest number that stands between two texts; the second is a pattern."""
    pattern = re.compile(re.escape(before) + r"(\d{1,4})" + after)
    found = (match for name in names if (match := pattern.match(name)))
    return max((int(match[1]) for match in found), default=-1) + 1


def _weighted(root: str, stems: Iterable[str]) -> Iterator[str]:
    for stem in stems:
        yield f"{root}{stem}.weight"
        yield f"{root}{stem}.bias"


def _unet_resnet(root: str, *, skip: bool) -> Iterator[str]:
    return _weighted(root, (*_RESNET, *((_SKIP,) if skip else ())))


def _unet_attention(root: str, depth: int) -> Iterator[str]:
    yield from _weighted(root, ("norm", "proj_in", "proj_out"))
    for block in range(depth):
        yield from (f"{root}transformer_blocks.{block}.{name}" for name in _ATTENTION)


@dataclass(frozen=True, slots=True)
class _Level:
    """A level of a UNet: its width, and its transformer blocks (0 without attention)."""

    width: int
    depth: int


def _unet(shapes: Shapes, family: Family) -> _Plan:
    blocks: list[_Level] = []
    context, linear, downsamplers = 0, False, 0
    own = [name for name in shapes if name.startswith(f"{UNET_PREFIX}input_blocks.")]
    count = _count(own, f"{UNET_PREFIX}input_blocks.", r"\.0\.(?:in_layers|out_layers|op)\.")
    for block in range(1, count):
        root = f"{UNET_PREFIX}input_blocks.{block}."
        if f"{root}0.op.weight" in shapes:
            downsamplers += 1
            continue
        depth = _count(own, f"{root}1.transformer_blocks.", r"\.(?:attn|norm|ff)")
        blocks.append(_Level(shapes[f"{root}0.out_layers.3.weight"][0], depth))
        if depth:
            context = shapes[f"{root}1.transformer_blocks.0.attn2.to_k.weight"][1]
            linear = len(shapes[f"{root}1.proj_in.weight"]) == 2
    per_level = len(blocks) // (downsamplers + 1)
    levels = blocks[::per_level]
    first = shapes[UNET_PREFIX + "input_blocks.0.0.weight"]
    middle = levels[-1].depth or _middle_depth(shapes)
    attended = [level.depth > 0 for level in levels]
    down = ["CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attended]
    up = ["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attended)]
    facts = {
        "in_channels": first[1],
        "out_channels": shapes[UNET_PREFIX + "out.2.weight"][0],
        "block_out_channels": [level.width for level in levels],
        "layers_per_block": per_level,
        "transformer_layers_per_block": [
            *(max(level.depth, 1) for level in levels[:-1]),
            middle,
        ],
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": context,
        "use_linear_projection": linear,
    }
    names = [*_unet_down(first[0], levels, per_level, middle), *_unet_up(levels, per_level)]
    if FAMILIES[family].told_numbers:
        added = shapes[UNET_PREFIX + "label_emb.0.0.weight"][1]
        facts["projection_class_embeddings_input_dim"] = added
        names += _weighted("", ("label_emb.0.0", "label_emb.0.2"))
    return _Plan(UNET_PREFIX, facts, frozenset(UNET_PREFIX + name for name in names))


def _middle_depth(shapes: Shapes) -> int:
    """Return how many transformer blocks stand in the middle, where the last level has none: 1 in SD1
    and SD2, 4 in the SDXL refiner.
    """
    root = f"{UNET_PREFIX}middle_block.1.transformer_blocks."
    own = [name for name in shapes if name.startswith(root)]
    return max(_count(own, root, r"\.(?:attn|norm|ff)"), 1)


def _unet_down(width: int, levels: Sequence[_Level], per_level: int, middle: int) -> Iterator[str]:
    """Names on the way down and in the middle, and of what surrounds the levels."""
    yield from _weighted("", ("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2"))
    block = 1
    for number, level in enumerate(levels):
        for _ in range(per_level):
            yield from _unet_resnet(f"input_blocks.{block}.0.", skip=width != level.width)
            if level.depth:
                yield from _unet_attention(f"input_blocks.{block}.1.", level.depth)
            width = level.width
            block += 1
        if number < len(levels) - 1:
            yield from _weighted(f"input_blocks.{block}.", ("0.op",))
            block += 1
    for number in (0, 2):
        yield from _unet_resnet(f"middle_block.{number}.", skip=False)
    yield from _unet_attention("middle_block.1.", middle)


def _unet_up(levels: Sequence[_Level], per_level: int) -> Iterator[str]:
    block = 0
    for number in reversed(range(len(levels))):
        depth = levels[number].depth
        for place in range(per_level + 1):
            yield from _unet_resnet(f"output_blocks.{block}.0.", skip=True)
            if depth:
                yield from _unet_attention(f"output_blocks.{block}.1.", depth)
            if place == per_level and number:
                yield from _weighted(f"output_blocks.{block}.{2 if depth else 1}.", ("conv",))
            block += 1


def _vae(shapes: Shapes) -> _Plan:
    encoder = VAE_PREFIX + "encoder."
    own = [name for name in shapes if name.startswith(f"{encoder}down.")]
    levels = _count(own, f"{encoder}down.", r"\.block\.")
    widths = [shapes[f"{encoder}down.{i}.block.0.conv2.weight"][0] for i in range(levels)]
    layers = _count(own, f"{encoder}down.0.block.", r"\.conv")
    facts = {
        "in_channels": shapes[encoder + "conv_in.weight"][1],
        "out_channels": shapes[VAE_PREFIX + "decoder.conv_out.weight"][0],
        "latent_channels": shapes[VAE_PREFIX + "decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    first = shapes[encoder + "conv_in.weight"][0]
    names = (
        *_weighted("", ("quant_conv", "post_quant_conv")),
        *_vae_side("encoder", [first, *widths], layers),
        *_vae_side("decoder", [widths[-1], *reversed(widths)], layers + 1),
    )
    return _Plan(VAE_PREFIX, facts, frozenset(VAE_PREFIX + name for name in names))


def _vae_side(side: str, widths: Sequence[int], layers: int) -> Iterator[str]:
    """Names of encoder or decoder; ``widths`` are what comes in and those of the levels in order."""
    yield from _weighted(f"{side}.", ("conv_in", "norm_out", "conv_out"))
    for block in ("block_1", "block_2"):
        yield from _weighted(f"{side}.mid.{block}.", _VAE_RESNET)
    yield from _weighted(f"{side}.mid.attn_1.", ("norm", "q", "k", "v", "proj_out"))
    levels = len(widths) - 1
    way, sampler = ("down", "downsample") if side == "encoder" else ("up", "upsample")
    for number, (before, width) in enumerate(pairwise(widths)):
        # The decoder counts its levels from the end.
        level = f"{side}.{way}.{number if side == 'encoder' else levels - 1 - number}."
        for layer in range(layers):
            yield from _weighted(f"{level}block.{layer}.", _VAE_RESNET)
        if before != width:
            yield from _weighted(f"{level}block.0.", ("nin_shortcut",))
        if number < levels - 1:
            yield from _weighted(level, (f"{sampler}.conv",))


def _clip(shapes: Shapes, prefix: str) -> _Plan:
    root = prefix
    if any(name.startswith(f"{prefix}text_model.") for name in shapes):
        root += "text_model."
    layers = _count(shapes, f"{root}encoder.layers.", r"\.(?:self_attn|mlp|layer_norm)")
    embeddings = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
    vocabulary, width = shapes[root + embeddings[0]]
    facts = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[root + "encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": layers,
        "max_position_embeddings": shapes[root + embeddings[1]][0],
    }
    names = [*embeddings, *_weighted("", ("final_layer_norm",))]
    for layer in range(layers):
        names += _weighted(f"encoder.layers.{layer}.", _CLIP_LAYER)
    unused = root + "embeddings.position_ids", prefix + "text_projection.weight"
    needed = frozenset(root + name for name in names)
    return _Plan(prefix, facts, needed, frozenset((*unused, prefix + "logit_scale")))


def _open_clip(shapes: Shapes, prefix: str, *, projected: bool) -> _Plan:
    """OpenCLIP's text encoder: SDXL's second and its refiner's, with a projection, or SD2's."""
    layers = _count(shapes, f"{prefix}transformer.resblocks.", r"\.(?:ln_|mlp|attn)")
    vocabulary, width = shapes[prefix + "token_embedding.weight"]
    facts = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[prefix + "transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": layers if projected else layers_read(layers),
        "max_position_embeddings": shapes[prefix + "positional_embedding"][0],
    }
    names = ["token_embedding.weight", "positional_embedding", *_weighted("", ("ln_final",))]
    for layer in range(layers):
        root = f"transformer.resblocks.{layer}."
        names += [*_weighted(root, _OPEN_CLIP_LAYER)]
        names += [f"{root}attn.in_proj_{kind}" for kind in ("weight", "bias")]
    if projected:
        names.append("text_projection")
    if prefix + "text_projection" in shapes:
        facts["projection_dim"] = shapes[prefix + "text_projection"][1]
    unused = ("logit_scale", "attn_mask", "text_projection")
    return _Plan(
        prefix,
        facts,
        frozenset(prefix + name for name in names),
        frozenset(prefix + name for name in unused),
    )


def layers_read(stored: int) -> int:
    """Return how many of the layers of SD2's text encoder are read: all but the last.

    A file may have dropped the unused last one already.
    """
    return stored if stored == _OPEN_CLIP_H_READ else stored - 1
