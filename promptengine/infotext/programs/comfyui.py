"""ComfyUI's images: the graph that made one, as far as it is a way to make images that is known here.

The sampler that the image comes from is looked for from the nodes that save images. Where several passes
follow each other, the first one is read and the others are told. Prompts are ComfyUI's dialect, which has
no tags; where a graph loads networks it is SwarmUI's, which weighs words alike and has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from promptengine.infotext.programs.comfyui_graph import Graph, Node, graph_in
from promptengine.infotext.programs.comfyui_nodes import (
    ENCODERS,
    ENDS,
    MODEL_FILES,
    OWN_HYPERNETWORK,
    OWN_PROMPT,
    OWN_SAMPLER,
    SAMPLER_NAMES,
    SAMPLERS,
    SCHEDULERS,
    SILENT,
    STOCHASTIC,
)
from promptengine.infotext.programs.comfyui_own import own_prompt, own_sampler_entries
from promptengine.infotext.programs.reader import (
    ImageNotes,
    ImageReader,
    ProgramImage,
    ProgramMarks,
    UnmappedSetting,
)
from promptengine.infotext.programs.values import (
    file_name,
    mapping,
    number_text,
    sampler_entries,
    shown,
    tagged,
    text_of,
    whole_text,
)
from promptengine.kinds import HYPERNETWORK, LORA, NetworkKind

__all__ = ["COMFYUI", "noise_differences"]

_KEYWORDS: Final = ("prompt", "workflow", "", "UserComment", "parameters", "comment")
_MOST_NODES_TOLD: Final = 100
_MOST_PASSES: Final = 10
_SCHEDULE_NODES: Final = {"KarrasScheduler": "karras", "ExponentialScheduler": "exponential"}
_FULL: Final = ("1", "1.0")
_EVEN_SIDE: Final = 64
_OWN_LINKS: Final = ("noise", "sampler", "sigmas")
_HYPERNETWORKS: Final = {
    "HypernetworkLoader": "hypernetwork_name",
    OWN_HYPERNETWORK: "hypernetwork",
}
_BEFORE_A_PASS: Final = ("LatentUpscale", "ImageScale", "ImageUpscale", "UpscaleModel")
"""What the types of nodes that enlarge begin with."""

_COMMON: Final = (
    "ComfyUI scales the first noise and rounds the times of steps in ways of its own, which alone moves "
    "latents by some hundredths"
)


def noise_differences(entries: dict[str, str]) -> Iterator[str]:
    """Yield why a sampler of ComfyUI's gives another image than the one of the same name here."""
    yield _COMMON
    sides = entries.get("Size", "").split("x")
    if any(side.isdecimal() and int(side) % _EVEN_SIDE for side in sides):
        yield f"sizes that are no multiples of {_EVEN_SIDE} pixels are resized within the model otherwise there"
    sampler = entries.get("Sampler", "")
    if sampler in STOCHASTIC:
        yield f"{sampler} draws its noise on the way from other seeds there, so the image is another one"
    if sampler in ("DDIM", "UniPC"):
        yield f"{sampler} is another method there, so the image is another one"


def _read(notes: ImageNotes) -> ProgramImage | None:
    for keyword in _KEYWORDS:
        graph = graph_in(notes.documents.get(keyword))
        if graph is None:
            continue
        passes = _passes(graph)
        if passes:
            return _Reading(graph, passes[-1]).image(keyword, passes[:-1])
    return None


def _passes(graph: Graph) -> list[Node]:
    """Return the samplers that an image goes through, the last one first."""
    ends = sorted(graph.ends(), key=lambda node: node.type not in ENDS)
    last = next(
        (found for end in ends[:1] for found in graph.upstream(end) if found.type in SAMPLERS), None
    ) or next((node for node in graph.nodes.values() if node.type in SAMPLERS), None)
    passes: list[Node] = []
    while last is not None and len(passes) < _MOST_PASSES and last.id not in {p.id for p in passes}:
        passes.append(last)
        start = graph.source(last, SAMPLERS[last.type].latent)
        chain = () if start is None else graph.upstream(start[0])
        last = next((node for node in chain if node.type in SAMPLERS), None)
    return passes


class _Reading:
    """One pass of a graph, read.

    Args:
        graph: The whole.
        sampler: The node of the pass.
    """

    def __init__(self, graph: Graph, sampler: Node) -> None:
        self.graph = graph
        self.sampler = sampler
        self.entries: dict[str, str] = {}
        self.unmapped: list[UnmappedSetting] = []
        self.differences: list[str] = []
        self.used = {sampler.id}
        self.parts = [sampler, *self._parts()]
        self.own = next((part for part in self.parts if part.type == OWN_SAMPLER), None)
        self.dialect = "comfyui"
        self.first: set[str] = set()

    def image(self, keyword: str, later: list[Node]) -> ProgramImage:
        """Return what the graph says.

        Args:
            keyword: Where in the file it was.
            later: Passes that follow.
        """
        self._settings()
        self._start()
        prompt, encoder = self._prompt("positive", 0)
        negative, _ = self._prompt("negative", 1)
        self._clip_skip(encoder)
        networks = list(self._model_chain(encoder))
        prompt, dialect = self._with_networks(prompt, networks)
        self._vae()
        if self.own is None:
            self.entries["RNG"] = "CPU"
        for node in reversed(later):
            self._later_pass(node)
        self._others()
        return ProgramImage(
            program=COMFYUI.name,
            place=keyword,
            prompt=prompt,
            negative_prompt=negative,
            dialect=dialect,
            entries=self.entries,
            unmapped=tuple(self.unmapped),
            differences=(
                *(noise_differences(self.entries) if self.own is None else ()),
                *self.differences,
            ),
        )

    def _later_pass(self, node: Node) -> None:
        """Tell of a pass that is left out, and of what enlarges before it."""
        self.used.add(node.id)
        self.unmapped.append(UnmappedSetting(str(node), _told(node), "a later pass"))
        start = self.graph.source(node, SAMPLERS[node.type].latent)
        between: list[str] = []
        for one in () if start is None else self.graph.upstream(start[0]):
            if one.type in SAMPLERS:
                break
            if one.type.startswith(_BEFORE_A_PASS):
                between.append(str(one))
        behind = f" behind {', '.join(between)}" if between else ""
        self.differences.append(f"a later pass is left out: {node}{behind}")

    def _parts(self) -> Iterator[Node]:
        for name in SAMPLERS[self.sampler.type].parts:
            found = self.graph.source(self.sampler, name)
            if found is not None:
                self.used.add(found[0].id)
                yield found[0]

    def _value(self, name: str) -> object:
        """Return a setting of the pass, from its node or those beside it."""
        found = (self.graph.value(part, name) for part in self.parts)
        return next((one for one in found if one is not None), None)

    def _source(self, *names: str) -> tuple[Node, int] | None:
        found = (self.graph.source(part, name) for part in self.parts for name in names)
        return next((one for one in found if one is not None), None)

    def _settings(self) -> None:
        if self.own is not None:
            self._own_settings(self.own)
            return
        seed = SAMPLERS[self.sampler.type].seed
        self._number("Steps", "steps", whole_text)
        self._number("CFG scale", "cfg", number_text)
        self._number("Seed", seed, whole_text)
        name, place = text_of(self._value("sampler_name")) or "", f"{self.sampler} sampler_name"
        found, unknown = sampler_entries(name, SAMPLER_NAMES, place)
        self.entries |= found
        self.unmapped += unknown
        if name == "uni_pc_bh2":
            self._tell(self.sampler, "sampler_name", name, "UniPC's variant bh2 is an option here")
        self._schedule()
        self._range()

    def _number(self, label: str, name: str, read: Callable[[object], str | None]) -> None:
        value = self._value(name)
        text = read(value)
        if text is not None:
            self.entries[label] = text
        elif value is not None or any(name in part.links for part in self.parts):
            self._tell(self.sampler, name, value, "not a number that the graph holds")

    def _own_settings(self, own: Node) -> None:
        """Read the settings of *WebUI Sampler*."""
        for label, text, name, value in own_sampler_entries(self.graph, own):
            if text is not None:
                self.entries[label] = text
            elif value is not None or name in own.links:
                self._tell(own, name, value, "not a value that the graph holds")
        self._number("CFG scale", "cfg", number_text)
        sources = (self.graph.source(self.sampler, name) for name in _OWN_LINKS)
        if any(found is None or found[0] is not own for found in sources):
            self.differences.append("other nodes have a part in its noise, sampler or levels")
        if "CFG scale" not in self.entries:
            self.differences.append("its CFG scale is not told")

    def _schedule(self) -> None:
        by_node = (_SCHEDULE_NODES.get(part.type) for part in self.parts)
        kind = next(filter(None, by_node), None) or text_of(self._value("scheduler")) or ""
        if kind in SCHEDULERS:
            self.entries["Schedule type"] = SCHEDULERS[kind]
        elif kind:
            self._tell(self.sampler, "scheduler", kind, "no schedule type here is the same")
        for part in self.parts:
            for name in ("sigma_max", "sigma_min", "rho"):
                if name in part.values:
                    self._tell(part, name, part.values[name])

    def _range(self) -> None:
        """Tell of steps that a pass leaves out, and of noise that it does not add."""
        steps = self.entries.get("Steps", "")
        for name, usual in (("start_at_step", "0"), ("end_at_step", steps)):
            value = self._value(name)
            number = whole_text(value)
            beyond = name == "end_at_step" and number and steps and int(number) >= int(steps)
            if number not in (None, usual) and not beyond:
                self._tell(self.sampler, name, value, "a pass here goes through all of its steps")
        noise = self._value("add_noise")
        if noise in ("disable", False):
            self._tell(self.sampler, "add_noise", noise, "a pass here begins with noise")

    def _start(self) -> None:
        """Read the size, or that the image was made from another one."""
        found = self._source("latent_image", "latent")
        for node in () if found is None else self.graph.upstream(found[0]):
            width, height = (whole_text(self.graph.value(node, one)) for one in ("width", "height"))
            if width and height and not node.links.keys() & {"samples", "image", "pixels"}:
                self.used.add(node.id)
                self.entries["Size"] = f"{width}x{height}"
                self._batch(node)
                break
            if node.type.startswith("LoadImage"):
                self.differences.append(
                    "it was made from another image, which the graph names alone"
                )
        denoise = number_text(self._value("denoise"))
        if denoise not in (None, *_FULL):
            self.entries["Denoising strength"] = denoise

    def _batch(self, node: Node) -> None:
        count = whole_text(self.graph.value(node, "batch_size"))
        if count not in (None, "1"):
            self._tell(node, "batch_size", int(count), "which of them this image is, is not told")
            self.differences.append("of a batch, all but the first image have noise of their own")

    def _prompt(self, name: str, output: int) -> tuple[str, Node | None]:
        """Return a prompt, and the node that reads it.

        Args:
            name: Of the input that it comes through.
            output: Of nodes that change both prompts, where this one comes out.
        """
        found = self._source(name) or (self._source("conditioning") if output == 0 else None)
        pending = [] if found is None else [found]
        seen: set[str] = set()
        texts: list[tuple[Node, str]] = []
        while pending:
            node, slot = pending.pop()
            if node.id in seen:
                continue
            seen.add(node.id)
            self.used.add(node.id)
            if node.type in ENCODERS or node.type == OWN_PROMPT:
                own = node.type == OWN_PROMPT
                texts.append((node, self._own_text(node, slot) if own else self._encoded(node)))
                continue
            self._tell_node(node, "between prompt and sampler")
            names = [one for one in node.links if one.startswith("conditioning")]
            names = names or [("positive", "negative")[slot == 1]]
            sources = (self.graph.source(node, one) for one in reversed(names))
            pending += [one for one in sources if one is not None]
        for node, text in texts[1:]:
            self._tell(node, "text", text, f"only the first {name} prompt is read")
        if len(texts) > 1:
            self.differences.append(f"the graph joins several {name} prompts in a way of its own")
        return (texts[0][1], texts[0][0]) if texts else ("", None)

    def _encoded(self, node: Node) -> str:
        texts: list[str] = []
        for name in ENCODERS[node.type]:
            value = self.graph.value(node, name)
            text = text_of(value)
            if text is not None:
                texts.append(text)
            elif value is not None or name in node.links:
                self._tell(node, name, value, "not a text that the graph holds")
        self.used |= {link.node for name, link in node.links.items() if name != "clip"}
        for text in dict.fromkeys(texts[1:]):
            if text != texts[0] and text:
                self._tell(node, "text", text, "one prompt is for all text encoders here")
        return texts[0] if texts else ""

    def _own_text(self, node: Node, output: int) -> str:
        """Return a prompt of *WebUI Prompt*, and take its settings."""
        own = own_prompt(self.graph, node, output)
        assert own is not None
        self.dialect = own.dialect
        if own.clip_skip:
            self.entries["Clip skip"] = own.clip_skip
        if own.emphasis:
            self.entries["Emphasis"] = own.emphasis
        for name in ("prompt", "negative", "steps"):
            if name in node.links:
                self.used.add(node.links[name].node)
        text = text_of(own.text)
        if text is None:
            self._tell(node, "prompt", own.text, "not a text that the graph holds")
        return text or ""

    def _clip_skip(self, encoder: Node | None) -> None:
        """Read where the text model stops, from the nodes between its loader and the prompt."""
        found = None if encoder is None else self.graph.source(encoder, "clip")
        for node in () if found is None else self.graph.upstream(found[0]):
            if node.type != "CLIPSetLastLayer":
                continue
            self.used.add(node.id)
            if encoder is not None and encoder.type == OWN_PROMPT and "Clip skip" in self.entries:
                continue
            layer = whole_text(self.graph.value(node, "stop_at_clip_layer"))
            if layer is not None and -12 <= int(layer) < 0 and "Clip skip" not in self.entries:
                self.entries["Clip skip"] = str(-int(layer))
            else:
                self._tell_node(node)

    def _model_chain(self, encoder: Node | None) -> Iterator[tuple[Node, NetworkKind, str, str]]:
        """Yield the networks between the model and the sampler, that next to the model first; read its file.

        Of each there are its node, kind, name and multiplier.
        """
        found = self._source("model")
        chain: list[Node] = []
        for node in () if found is None else self.graph.upstream(found[0]):
            if not node.links.keys() & {"model", "model1"} and node.type not in MODEL_FILES:
                continue
            chain.append(node)
            self.used.add(node.id)
        for node in reversed(chain):
            if node.type in MODEL_FILES:
                self._model_file(node)
            elif node == encoder:
                self.first = {one.id for one in chain[chain.index(node) :]}
            elif node.type in (OWN_SAMPLER, OWN_PROMPT):
                continue
            elif node.type in _HYPERNETWORKS:
                name = self.graph.value(node, _HYPERNETWORKS[node.type])
                yield node, HYPERNETWORK, file_name(name) or "", self._strength(node, "strength")
            elif node.type in ("LoraLoader", "LoraLoaderModelOnly"):
                name = file_name(self.graph.value(node, "lora_name")) or ""
                unet = self._strength(node, "strength_model")
                both = node.type == "LoraLoader"
                text = self._strength(node, "strength_clip") if both else "0"
                yield node, LORA, name, unet if unet == text else f"{unet}:{text}"
            elif stacked := list(_stacked(node)):
                for name, strength in stacked:
                    yield node, LORA, name, strength
            else:
                self._tell_node(node, "it changes the model")
                self.differences.append("nodes that change the model are left out")

    def _model_file(self, node: Node) -> None:
        name = file_name(self.graph.value(node, MODEL_FILES[node.type]))
        if name is None:
            self._tell_node(node)
        elif "Model" in self.entries:
            self._tell_node(node, "a second model")
        else:
            self.entries["Model"] = name

    def _strength(self, node: Node, name: str) -> str:
        value = self.graph.value(node, name)
        if value is None and name not in node.links:
            return "1"
        text = number_text(value)
        if text is None:
            self._tell(node, name, value, "not a number that the graph holds, so 1 is used")
        return text or "1"

    def _with_networks(
        self, prompt: str, networks: list[tuple[Node, NetworkKind, str, str]]
    ) -> tuple[str, str]:
        dialect, before = self.dialect, ""
        for node, kind, name, multiplier in networks[:_MOST_NODES_TOLD]:
            if not name:
                self._tell_node(node, "it names no file")
                continue
            if node.id in self.first:
                # What the model had before the prompt was read acts before the prompt's own.
                before, dialect, problem = tagged(before, dialect, kind, name, multiplier)
            else:
                prompt, dialect, problem = tagged(prompt, dialect, kind, name, multiplier)
            if problem:
                self._tell(node, kind.noun, name, problem)
                self.differences.append(f"a {kind.noun} is left out")
            elif kind == HYPERNETWORK and node.type != OWN_HYPERNETWORK:
                self.differences.append(
                    "ComfyUI misreads hypernetworks of some layouts; here they are read as WebUI does"
                )
        for node, kind, name, _ in networks[_MOST_NODES_TOLD:]:
            self._tell(node, kind.noun, name, "more networks than an image has")
        self.differences = list(dict.fromkeys(self.differences))
        return f"{before}{prompt}", dialect

    def _vae(self) -> None:
        for node in self.graph.nodes.values():
            if node.type == "VAELoader" and "VAE" not in self.entries:
                name = file_name(self.graph.value(node, "vae_name"))
                if name is not None:
                    self.entries["VAE"] = name
                    self.used.add(node.id)

    def _others(self) -> None:
        """Tell of nodes that nothing above has read."""
        rest = [
            node
            for node in self.graph.nodes.values()
            if node.id not in self.used
            and node.type not in SILENT
            and not node.type.startswith("Primitive")
        ]
        for node in rest[:_MOST_NODES_TOLD]:
            self._tell_node(node)
        if more := rest[_MOST_NODES_TOLD:]:
            self.unmapped.append(UnmappedSetting("the graph", f"{len(more)} more nodes"))

    def _tell(self, node: Node, name: str, value: object, reason: str = "") -> None:
        said = "what a node makes while it runs" if value is None else shown(value)
        self.unmapped.append(UnmappedSetting(f"{node} {name[:60]}", said, reason))

    def _tell_node(self, node: Node, reason: str = "") -> None:
        self.unmapped.append(UnmappedSetting(str(node), _told(node), reason))


def _stacked(node: Node) -> Iterator[tuple[str, str]]:
    """Yield names and weights of nodes that load several LoRAs, each of which is an object there."""
    for value in map(mapping, node.values.values()):
        name = file_name(value.get("lora"))
        if name is not None and value.get("on") is not False:
            yield name, number_text(value.get("strength")) or "1"


def _told(node: Node) -> str:
    return shown(dict(list(node.values.items())[:20])) if node.values else "the node"


COMFYUI: Final = ImageReader(
    "ComfyUI",
    _read,
    ProgramMarks.of("workflow,prompt", ("nodes,links", "last_node_id,nodes", "class_type,inputs")),
)
