"""The projections that a hypernetwork changes, and what they read while an image is made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from promptengine.networks.attention import attentions
from promptengine.networks.hypernetwork.module import Hypernetwork, ResidualNetwork
from promptengine.networks.lora.keys import original_name

__all__ = ["Site", "file_names", "sites", "watching"]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A projection of an attention, and the network on what it reads.

    Attributes:
        path: Its path in the UNet, such as ``mid_block.attentions.0.transformer_blocks.0.attn1.to_k``.
        module: The projection ``W x``.
        network: ``f`` in ``W (x + f(x))``.
        reads_text: Whether ``x`` is text, which is the same for all such projections.
    """

    path: str
    module: nn.Module
    network: ResidualNetwork
    reads_text: bool

    @property
    def weight(self) -> Tensor:
        """``W`` ``[out, in]``."""
        return cast("Tensor", self.module.weight).detach()


def sites(unet: nn.Module, network: Hypernetwork) -> tuple[Site, ...]:
    """List the projections of a UNet that a hypernetwork changes, in the order of the model."""
    paths = {module: path for path, module in unet.named_modules()}
    found: list[Site] = []
    for attention in attentions(unet):
        for part, module in attention.projections.items():
            residual = network.part(cast("int", module.in_features), part)
            if residual is not None:
                reads_text = attention.reads_text and part != "query"
                found.append(Site(paths[module], module, residual, reads_text))
    return tuple(found)


def file_names(unet: nn.Module, found: tuple[Site, ...]) -> Mapping[str, str]:
    """Name projections as files of LoRAs do, by their paths.

    Programs read ``lora_unet_`` with diffusers' path by the block numbers of Stable Diffusion 1, whatever the
    model. So only models with these numbers get such names; all others get those of the original layout.

    Args:
        unet: A diffusers ``UNet2DConditionModel``.
        found: Its projections.
    """
    config = cast("Any", unet).config
    layers = config.layers_per_block
    plain_up = {level for level, kind in enumerate(config.up_block_types) if "Attn" not in kind}
    names = {site.path: site.path.replace(".", "_") for site in found}
    originals = {
        path: original_name(name, layers=layers, plain_up=plain_up)
        if isinstance(layers, int)
        else original_name(name)
        for path, name in names.items()
    }
    usual = all(original_name(names[path]) == name for path, name in originals.items())
    return {
        path: "lora_unet_" + (name if usual else originals[path] or name)
        for path, name in names.items()
    }


@contextmanager
def watching(found: tuple[Site, ...], read: Callable[[Site, Tensor], None]) -> Generator[None]:
    """Show what projections read while images are made within a ``with`` block.

    Args:
        found: Which projections.
        read: Gets each projection with its input ``[rows, width]`` at each call, before hypernetworks.
    """

    def hook(site: Site) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def on_call(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read(site, inputs[0].detach().flatten(0, -2))

        return on_call

    handles = [site.module.register_forward_pre_hook(hook(site)) for site in found]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
