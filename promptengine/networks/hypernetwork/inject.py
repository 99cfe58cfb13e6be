"""Puts hypernetworks into a UNet and takes them out again, at the least cost per step.

A hypernetwork acts on what two projections of an attention read (key and value, or key and query), so
within a ``with`` block those projections are computed here, whatever processor calls them. Three things
make that cheaper than the bare UNet: what text comes to is kept as long as the text tensor lives;
networks of linear layers alone are folded into the projections of self-attention; and rows of a batch
with different networks share everything else. The UNet's weights and its state dictionary are never
touched.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from promptengine.networks.attention import attentions
from promptengine.networks.hypernetwork.fuse import ProjectionFuser
from promptengine.networks.hypernetwork.projection import (
    HypernetworkStack,
    Injection,
    PatchedProjection,
    ProjectionPlace,
)
from promptengine.undo import UndoLog
from promptengine.validation import check_type

__all__ = ["HypernetworkStack", "Injection", "inject_hypernetworks"]


@contextmanager
def inject_hypernetworks(
    unet: nn.Module,
    stack: HypernetworkStack = (),
    *,
    folder: ProjectionFuser | None = None,
    fold: bool = True,
    training: bool = False,
    journal: UndoLog | None = None,
) -> Generator[Injection]:
    """Let hypernetworks act on every self- and cross-attention of a UNet within a ``with`` block.

    Each projection gets the networks that hold the width it reads, in the order of the stack, each
    on the output of the one before: ``x + multiplier * f(x)``, apart for keys and values. A width that
    no network holds passes through. The rules are WebUI's. Queries are changed only by networks whose
    transform is ``key,query``, which leave values alone. A multiplier of 0 disables; the same network
    may occur more than once.

    When the block ends, by an exception too, the UNet computes bit for bit what it did before.
    Nested blocks add up: the outer stack acts first. Gradients pass through; a backward pass of
    gradient checkpointing must run inside the block. A UNet must not be compiled before, nor its
    projections fused within the block: both bypass networks.

    Without gradients, keys and values of a text are computed when its tensor is first seen and kept
    while that tensor lives and is not changed in place. Projections that are no plain ``nn.Linear``, such
    as those LoRAs of other libraries have wrapped, are asked each time and never folded.

    A network whose device or dtype is not that of the projection is copied once; the caller's network
    stays as it is, and gradients reach it only where no copy was needed.

    Args:
        unet: Any diffusers UNet.
        stack: What acts on all rows of a batch, until :meth:`Injection.choose` says otherwise: networks
            with their multipliers, and perhaps weights by block.
        folder: Keeps folded projections beyond this block; by default they go with it.
        fold: Whether to fold at all; it moves results by less than 1e-5 of their size in float32.
        training: Use the networks themselves, never copies, so that gradients reach them. Where
            their dtype is not the UNet's, call the UNet under ``torch.autocast``.
        journal: Of the run that this is a part of; by default the block stands alone.

    Yields:
        What the networks of each row can be chosen with.

    Raises:
        PromptEngineError: The UNet's projections are fused.
    """
    check_type("unet", unet, nn.Module, words="a UNet of diffusers")
    injection = Injection(
        unet, (folder or ProjectionFuser()) if fold else None, copies=not training
    )
    injection.choose(stack)
    with (journal or UndoLog()).block() as changes:
        changes.write(injection.forget)
        for attention in attentions(unet):
            for part, module in attention.projections.items():
                reads_text = attention.reads_text and part != "query"
                place = ProjectionPlace(part, reads_text=reads_text, block=attention.block)
                site = PatchedProjection(module, place, injection)
                changes.shadow(module, "forward", site)
        yield injection
