"""Modules of diffusers and transformers from configurations and weights, without a copy more.

Modules are built without memory and take over the tensors they are given: those that need no change
stay mapped from the file, the others are converted one by one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import torch
from torch import Tensor, nn

from promptengine.errors import CheckpointError
from promptengine.families import ModelConfig, packed, require_known_latents
from promptengine.files.weights import file_format, is_plain_tensor, read_pickled, read_safetensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ModelBuilder", "read_weights"]

Weights = Mapping[str, Tensor]
_LARGEST_SIZE: Final = 1_000_000
_MOST_LAYERS: Final = 200
_M = TypeVar("_M", bound=nn.Module)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of weights by name, mapped from the disk, and a safetensors file's metadata.

    The file must stay as it is while the tensors are in use.

    Raises:
        CheckpointError: It cannot be read, or holds no weights by name.
    """
    if file_format(path, error=CheckpointError) == "safetensors":
        return read_safetensors(path, error=CheckpointError)
    document = read_pickled(path, error=CheckpointError)
    if isinstance(document, dict):
        entries = cast("dict[str, Any]", document)
        inner = entries.get("state_dict", entries)
        if isinstance(inner, dict):
            named = cast("dict[object, object]", inner).items()
            return {n: v for n, v in named if isinstance(n, str) and is_plain_tensor(v)}, {}
    raise CheckpointError("holds no weights by name", path=path)


@dataclass(frozen=True, slots=True)
class ModelBuilder:
    """Builds the parts of one model.

    Attributes:
        path: Whose parts they are, for messages.
        device: Where they shall live.
        dtype: Of UNet and text encoders. The VAE is float32 always: it overflows in float16.
        left_aside: Names of weights that found no place in what was built.
    """

    path: Path
    device: torch.device
    dtype: torch.dtype
    left_aside: list[str] = field(default_factory=list[str])

    def unet(self, config: ModelConfig, weights: Weights) -> nn.Module:
        """Build a ``UNet2DConditionModel`` from weights under its own names."""
        from diffusers import UNet2DConditionModel

        self._require_sane(config)
        with self._empty("UNet"):
            unet = cast("nn.Module", UNet2DConditionModel.from_config(dict(config)))
        return self._filled(unet, weights, self.dtype, "UNet")

    def vae(self, config: ModelConfig, weights: Weights) -> nn.Module:
        """Build an ``AutoencoderKL`` from weights under its own names."""
        from diffusers import AutoencoderKL

        self._require_sane(config)
        require_known_latents(config, self.path)
        with self._empty("VAE"):
            vae = cast("nn.Module", AutoencoderKL.from_config(dict(config)))
        return self._filled(vae, weights, torch.float32, "VAE")

    def text_encoder(
        self, config: ModelConfig, weights: Weights, *, projected: bool = False
    ) -> PreTrainedModel:
        """Build a ``CLIPTextModel``, or with ``projected`` one that answers with its projection too.

        Args:
            config: Of ``CLIPTextConfig``.
            weights: Under transformers' names, without ``text_model.`` before them.
            projected: Whether to build ``CLIPTextModelWithProjection``.
        """
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        self._require_sane(config)
        kind = CLIPTextModelWithProjection if projected else CLIPTextModel
        with self._empty("text encoder"):
            encoder = kind(CLIPTextConfig(**config))
        # Releases of transformers differ in whether the names have this before them.
        wrapper = "text_model." if hasattr(encoder, "text_model") else ""
        if not projected:
            weights = {n: t for n, t in weights.items() if n != "text_projection.weight"}
        named = {n if n.startswith("text_pro") else wrapper + n: t for n, t in weights.items()}
        return self._filled(encoder, named, self.dtype, "text encoder")

    def _require_sane(self, config: ModelConfig) -> None:
        """Refuse sizes that would keep the libraries busy for hours before they found a fault."""
        for key, value in config.items():
            most = _MOST_LAYERS if "layers" in key else _LARGEST_SIZE
            if any(number > most for number in _numbers(value)):
                message = f"its configuration says {key} is {value!s:.40}, more than any model has"
                raise CheckpointError(message, path=self.path)

    @contextmanager
    def renaming(self) -> Generator[None]:
        """Say in one line that weights have shapes that no known model has."""
        try:
            yield
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:200]
            message = f"its weights do not have the shapes of a Stable Diffusion model ({detail})"
            raise CheckpointError(message, path=self.path) from None

    @contextmanager
    def _empty(self, part: str) -> Generator[None]:
        """Build without memory; say in one line what the libraries find wrong with settings."""
        try:
            with torch.device("meta"):
                yield
        except (
            KeyError,
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
            NotImplementedError,
            ZeroDivisionError,
            RuntimeError,
        ) as error:
            detail = " ".join(str(error).split())[:200]
            message = f"its configuration does not make the {part} of a known model ({detail})"
            raise CheckpointError(message, path=self.path) from error

    def _filled(self, module: _M, weights: Weights, dtype: torch.dtype, part: str) -> _M:
        """Give a module built on the meta device its weights."""
        reason = packed(weights)
        if reason is not None:
            raise CheckpointError(f"the {part} cannot be read: {reason}", path=self.path)
        placed = {name: self._placed(tensor, dtype) for name, tensor in weights.items()}
        try:
            keys = module.load_state_dict(placed, strict=False, assign=True)
        except RuntimeError as error:
            detail = str(error).splitlines()[-1].strip()
            message = f"the {part}'s weights do not fit its configuration: {detail}"
            raise CheckpointError(message, path=self.path) from None
        if keys.missing_keys:
            message = f"the {part} lacks {_listed(keys.missing_keys)}; is the file complete?"
            raise CheckpointError(message, path=self.path)
        self.left_aside.extend(f"{part}: {name}" for name in keys.unexpected_keys)
        for name, buffer in list(module.named_buffers()):
            if name.endswith("position_ids"):
                owner = module.get_submodule(name.rpartition(".")[0])
                positions = torch.arange(buffer.shape[-1], device=self.device)[None]
                owner.register_buffer("position_ids", positions, persistent=False)
        return module.eval().requires_grad_(False)

    def _placed(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        return tensor.to(self.device, dtype if tensor.is_floating_point() else None)


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            yield from _numbers(item)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} weights ({shown})"
