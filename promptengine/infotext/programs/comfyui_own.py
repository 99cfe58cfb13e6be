"""What this package's own nodes say in a graph of ComfyUI's.

They sample and read prompts as WebUI does, so that the image that they make can come out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from promptengine.infotext.programs.comfyui_graph import Graph, Node
from promptengine.infotext.programs.comfyui_nodes import OWN_PROMPT, OWN_SAMPLER
from promptengine.infotext.programs.values import number_text, text_of, whole_text
from promptengine.prompt.dialects import DIALECTS, WEBUI
from promptengine.request.samplers import SAMPLERS

__all__ = ["OwnPrompt", "own_prompt", "own_sampler_entries"]

_NEGATIVE_OUTPUT: Final = 2
_SOURCES: Final[Mapping[str, str | None]] = {"cpu": "CPU", "nv": "NV", "gpu": None}
"""What infotexts call who draws; a GPU is meant where they say nothing."""

_ETAS: Final = {"eta_ancestral": "Eta", "eta_ddim": "Eta DDIM"}
_READ: Final[tuple[tuple[str, str, Callable[[object], str | None]], ...]] = (
    ("Steps", "steps", whole_text),
    ("Sampler", "sampler", text_of),
    ("Schedule type", "scheduler", text_of),
    ("Seed", "seed", whole_text),
)


class OwnPrompt(NamedTuple):
    """A prompt of *WebUI Prompt*.

    Attributes:
        text: The prompt, or the negative one.
        dialect: That it is written in.
        clip_skip: As WebUI counts; empty where it is left to the CLIP.
        emphasis: What becomes of weights; empty for WebUI's own way.
    """

    text: object
    dialect: str
    clip_skip: str
    emphasis: str


def own_prompt(graph: Graph, node: Node, output: int) -> OwnPrompt | None:
    """Return the prompt that comes out of a node; None where that is not *WebUI Prompt*."""
    if node.type != OWN_PROMPT:
        return None
    text = graph.value(node, "negative" if output == _NEGATIVE_OUTPUT else "prompt")
    dialect = text_of(graph.value(node, "dialect")) or WEBUI
    skip = whole_text(graph.value(node, "clip_skip")) or "1"
    emphasis = text_of(graph.value(node, "emphasis")) or "Original"
    return OwnPrompt(
        text,
        dialect if dialect in DIALECTS else WEBUI,
        "" if skip == "1" else skip,
        "" if emphasis == "Original" else emphasis,
    )


def own_sampler_entries(graph: Graph, node: Node) -> Iterator[tuple[str, str | None, str, object]]:
    """Yield what *WebUI Sampler* says: label, value, input and what stands there.

    A value that is None is no entry: where something stands there it cannot be used.
    """
    assert node.type == OWN_SAMPLER
    for label, name, read in _READ:
        value = graph.value(node, name)
        yield label, read(value), name, value
    strength = graph.value(node, "variation_strength")
    if number_text(strength) not in (None, "0", "0.0"):
        seed = graph.value(node, "variation_seed")
        yield "Variation seed", whole_text(seed) or "0", "variation_seed", None
        yield "Variation seed strength", number_text(strength), "variation_strength", strength
    source = text_of(graph.value(node, "noise_source")) or "cpu"
    yield "RNG", _SOURCES.get(source, "CPU"), "noise_source", None
    eta, sampler = number_text(graph.value(node, "eta")), text_of(graph.value(node, "sampler"))
    known = SAMPLERS.get(sampler or "")
    if eta is not None and float(eta) >= 0 and known is not None:
        yield _ETAS.get(known.settings.get("eta", ""), "Eta"), eta, "eta", None
    delta = whole_text(graph.value(node, "seed_delta"))
    if delta not in (None, "0"):
        yield "ENSD", delta, "seed_delta", None
