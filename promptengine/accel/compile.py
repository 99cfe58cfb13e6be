"""torch.compile for the parts of a UNet that no network touches.

Residual blocks, feed-forward layers and samplers of size are compiled, each as a graph of its own; what lies
between them, the attentions with their networks, stays as it is. So no graph knows of prompts, networks or
multipliers, and none is compiled again where these change. Another image size, batch size, or tiling makes
new graphs, the second size ones that serve all further sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Set
from contextlib import contextmanager
from typing import Any, Final

from torch import nn

from promptengine.errors import RequestError
from promptengine.undo import Changes

__all__ = ["compile_regions", "suspend_compiled_regions", "use_compiled_regions"]

_MOST_GRAPHS: Final = (
    256  # regions of one kind share their place, and there are some 15 shapes of them
)


def compile_regions(unet: nn.Module, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the regions of a diffusers UNet in place, each when it is first called.

    Args:
        unet: Its results move within the rounding of its dtype.
        backend: Of ``torch.compile``, by name or the function itself.
    """
    from diffusers.models.attention import FeedForward
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    for module in unet.modules():
        if isinstance(module, ResnetBlock2D | FeedForward | Downsample2D | Upsample2D):
            module.compile(backend=backend)


def suspend_compiled_regions(unet: nn.Module, inner: Set[nn.Module], changes: Changes) -> None:
    """Let compiled regions run as they are that hold some modules.

    Args:
        unet: A UNet, compiled or not.
        inner: Modules whose ``forward`` is another one for a while, which a graph would not know of.
        changes: Undoes it.
    """
    for module in unet.modules():
        compiled = module._compiled_call_impl  # pyright: ignore[reportPrivateUsage]
        if compiled is not None and not inner.isdisjoint(module.modules()):
            changes.set(module, "_compiled_call_impl", None)


@contextmanager
def use_compiled_regions() -> Generator[None]:
    """Let a compiled UNet be called within a ``with`` block.

    Raises:
        RequestError: It cannot be compiled here, such as for want of a C++ compiler.
    """
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    try:
        with config.patch(recompile_limit=_MOST_GRAPHS):
            yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        detail = str(cause).strip().splitlines()[0][:200]
        message = f"the UNet cannot be compiled here ({detail}); go without --compile"
        raise RequestError(message, field="compile") from None
