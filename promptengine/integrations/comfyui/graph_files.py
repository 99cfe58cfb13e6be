"""The files that a graph makes an image with, as ComfyUI's own record of the graph names them.

ComfyUI's objects do not know what files they came from. Only nodes are followed whose part in an image is
known; what is behind any other stays unsaid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptengine.infotext.programs.comfyui_graph import Graph, Node, graph_in
from promptengine.infotext.programs.comfyui_nodes import DECODERS, MODEL_FILES
from promptengine.integrations.comfyui.host import host_module

__all__ = ["GraphFiles", "files_of"]

_MOST_NODES: Final = 200
_MOST_SHOWN: Final = 60
_FOLDERS: Final = {"ckpt_name": "checkpoints", "unet_name": "diffusion_models", "vae_name": "vae"}
"""ComfyUI's folders of files, by the inputs that name them."""

_VAE_OUTPUT: Final = 2
"""Of nodes that load checkpoints."""

File = tuple[str, Path | None]
"""A name as the graph has it, and the file where it is one."""


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """What a graph says of files.

    Attributes:
        model: The checkpoint; None where it cannot be told.
        vae: A VAE of its own; None where there is none, or where it cannot be told.
        changed_by: Types of the nodes that an image goes through after it was decoded, and of one that a VAE
            comes from whose file cannot be told.
    """

    model: File | None = None
    vae: File | None = None
    changed_by: tuple[str, ...] = ()


def files_of(prompt: object, node: object) -> GraphFiles:
    """Read which files a node's images were made with.

    Args:
        prompt: The graph as ComfyUI runs it, as its hidden input ``PROMPT``; may be anything.
        node: The id of the node that saves, of which ``images`` and ``sampler`` are inputs.
    """
    graph = graph_in(prompt)
    saving = None if graph is None else graph.nodes.get(str(node))
    if graph is None or saving is None:
        return GraphFiles()
    sampler = graph.source(saving, "sampler")
    chain = [] if sampler is None else list(_chain(graph, sampler[0], "model"))
    loader = chain[-1] if chain and chain[-1].type in MODEL_FILES else None
    model = None if loader is None else _file(loader, MODEL_FILES[loader.type])
    shown = graph.source(saving, "images")
    images = [] if shown is None else list(_chain(graph, shown[0], "image", "images", "pixels"))
    decoder = images[-1] if images and images[-1].type in DECODERS else None
    changed = tuple(one.type[:_MOST_SHOWN] for one in images if one is not decoder)
    vae, stranger = _vae(graph, decoder, loader)
    return GraphFiles(model, vae, (*changed, *stranger))


def _vae(
    graph: Graph, decoder: Node | None, loader: Node | None
) -> tuple[File | None, tuple[str, ...]]:
    """Return a VAE that is not the checkpoint's own, or where one comes from whose file cannot be told."""
    found = None if decoder is None else graph.source(decoder, "vae")
    if found is None:
        return None, ()
    node, output = found
    if node is loader and output == _VAE_OUTPUT:
        return None, ()
    file = _file(node, "vae_name") if node.type == "VAELoader" else None
    return file, (() if file else (f"VAE of {node.type[:_MOST_SHOWN]}",))


def _chain(graph: Graph, start: Node, *names: str) -> Iterator[Node]:
    """Yield a node and what one of its inputs comes from, and so on."""
    node, seen = start, {start.id}
    yield node
    while len(seen) < _MOST_NODES:
        found = next(filter(None, (graph.source(node, name) for name in names)), None)
        if found is None or found[0].id in seen or node.type in DECODERS:
            return
        node = found[0]
        seen.add(node.id)
        yield node


def _file(node: Node, field: str) -> File | None:
    name = node.values.get(field)
    if not isinstance(name, str) or not name:
        return None
    folder = _FOLDERS.get(field)
    found = None if folder is None else host_module("folder_paths").get_full_path(folder, name)
    return name, None if found is None else Path(found)
