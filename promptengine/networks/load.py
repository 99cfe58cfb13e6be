"""A plan's networks, loaded and checked against the model: what will run, and what became of the rest."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from promptengine.errors import (
    IncompatibleNetworkError,
    NetworkFormatError,
    PromptEngineError,
    RequestError,
    UnsupportedNetworkError,
)
from promptengine.kinds import HYPERNETWORK, LORA, NETWORK_KINDS, NetworkKind, tag_kinds
from promptengine.networks.hypernetwork.fuse import ProjectionFuser
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.hypernetwork.kind import HypernetworkLoader
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.networks.loader import (
    NETWORK_BYTES,
    BundledWord,
    LoadedUse,
    NetworkEffect,
    NetworkLoader,
    NetworkModel,
)
from promptengine.networks.lora.inject import LoraSchedule
from promptengine.networks.lora.loader import LoraLoader
from promptengine.networks.lora.weights import LoraWeights
from promptengine.prompt import Diagnostic, Span
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.registry import Kind, Registry, RegistryEntry
from promptengine.request.plan import NetworkUse, Plan, SkippedTag
from promptengine.request.request import HypernetworkLike, Policy
from promptengine.request.result import NetworkReport
from promptengine.undo import Changes, UndoLog

__all__ = [
    "LoadedNetworks",
    "NetworkCache",
    "ObjectUse",
    "load_networks",
    "refusal_reason",
    "skipped_report",
    "use_report",
]


class NetworkCache:
    """Recently used networks of a model, by kind, found again by file, time and size.

    Args:
        unet: The model the networks are for.
        text_encoders: Its text encoders, in their order.
        room: Bytes that the networks of one kind may take together; the longest unused goes first.
        home: Where the model's weights are between runs, and what they become under networks is kept.

    Attributes:
        unet: As given.
        folder: Folds hypernetworks into its projections.
    """

    def __init__(
        self,
        unet: nn.Module,
        *text_encoders: nn.Module,
        room: int = NETWORK_BYTES,
        home: torch.device | None = None,
    ) -> None:
        self.unet = unet
        self.folder = ProjectionFuser()
        self._model = NetworkModel(unet, text_encoders, home)
        self._room = room
        self._loaders: dict[Kind, NetworkLoader[Any]] = {}

    def loader(self, kind: NetworkKind) -> NetworkLoader[Any]:
        """Return what loads the networks of a kind, which has a tag."""
        if kind.name not in self._loaders:
            assert kind.loader is not None
            self._loaders[kind.name] = kind.loader(self._model, self._room)
        return self._loaders[kind.name]

    @property
    def lora_weights(self) -> LoraWeights:
        """What the model's weights become under LoRAs."""
        loader = self.loader(LORA)
        assert isinstance(loader, LoraLoader)
        return loader.weights

    def load(self, entry: RegistryEntry) -> object:
        """Return the network of a file, from memory if the file is unchanged.

        Raises:
            NetworkFormatError: The file is gone, damaged, unsafe or of another kind.
            IncompatibleNetworkError: It was made for another model.
        """
        return self.loader(NETWORK_KINDS[entry.kind]).load(entry)


@dataclass(frozen=True, slots=True)
class ObjectUse:
    """A network of the request itself, used once.

    Attributes:
        name: As it calls itself.
        multiplier: The same at all calls.
        span: The prompt's end.
    """

    name: str
    multiplier: float
    span: Span

    def report(self, *, reason: str = "", digest: str | None = None) -> NetworkReport:
        """Return what became of it."""
        return NetworkReport(
            kind=HYPERNETWORK.words[0],
            name=self.name,
            multiplier=self.multiplier,
            applied=not reason,
            reason=reason,
            span=self.span,
            digest=digest,
            origin="request",
        )


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetworks:
    """Networks that a plan's tags loaded.

    Attributes:
        effects: What the networks of each kind do, in order of application.
        reports: One per tag of the prompt, in the order of the tags, then one per network of the request.
        diagnostics: What went wrong, for people.
    """

    effects: tuple[NetworkEffect, ...]
    reports: tuple[NetworkReport, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def kinds(self) -> frozenset[Kind]:
        """Of which there are networks that act."""
        words = {report.kind for report in self.reports if report.applied}
        return frozenset(kind.name for kind in tag_kinds() if words & {*kind.words})

    def text_key(self, call: int) -> Hashable:
        """Return what a text is encoded under that is first read at a 0-based call: it is equal where networks
        read texts alike.
        """
        return tuple((effect.key, effect.text(call).key) for effect in self.effects)

    @property
    def model_key(self) -> Hashable:
        """What the whole model is changed by; only prompts that are equal in it can share a batch."""
        return tuple(effect.key if effect.apply else None for effect in self.effects)

    @property
    def words(self) -> Mapping[str, BundledWord]:
        """Words that networks bring along; of two files with one word the later tag's."""
        return {word: row for effect in self.effects for word, row in effect.words.items()}

    def told(self) -> LoadedNetworks:
        """Return what can be said of the networks, without these and the model that they are for."""
        effects = tuple(
            NetworkEffect(None if effect.apply is None else _act_elsewhere, effect.key)
            for effect in self.effects
        )
        return replace(self, effects=effects)

    @property
    def loras(self) -> LoraSchedule:
        """The LoRAs over the calls of the denoiser, of all kinds."""
        schedules = [effect.loras for effect in self.effects]
        return LoraSchedule(
            lambda call: tuple(use for one in schedules for use in one.at(call)),
            steady=all(one.steady for one in schedules),
        )

    def at(self, call: int) -> HypernetworkStack:
        """Return the hypernetworks with their multipliers at the 0-based denoiser call."""
        return tuple(pair for effect in self.effects for pair in effect.at(call))

    @contextmanager
    def merged(self, journal: UndoLog) -> Generator[None]:
        """Let the networks that change a model as a whole act on it within a ``with`` block.

        Args:
            journal: The model's.
        """
        with journal.block() as changes:
            for effect in self.effects:
                if effect.apply is not None:
                    effect.apply(changes)
            yield

    @contextmanager
    def encoding(self, call: int, journal: UndoLog) -> Generator[None]:
        """Let networks act on the text encoders, for texts first read at a 0-based call, within a ``with`` block.

        Args:
            call: Of the denoiser.
            journal: The model's.
        """
        with journal.block() as changes:
            for effect in self.effects:
                text = effect.text(call)
                if text.apply is not None:
                    text.apply(changes)
            yield


def _act_elsewhere(_changes: Changes) -> None:
    raise AssertionError("networks that are only told of cannot act")


@dataclass(slots=True, eq=False)
class _Findings:
    """What comes together while tags are worked through."""

    policy: Policy
    reports: list[NetworkReport] = field(default_factory=list[NetworkReport])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def refuse(self, use: NetworkUse | ObjectUse, error: PromptEngineError) -> None:
        """Note a network that is not applied; under ``strict`` that is an error instead."""
        if self.policy == "strict":
            raise error
        reason = refusal_reason(error)
        own = isinstance(use, ObjectUse)
        self.reports.append(use.report(reason=reason) if own else use_report(use, reason=reason))
        if self.policy == "warn":
            hint = "it is not applied"
            self.diagnostics.append(kinds.UNUSABLE_NETWORK(str(error), use.span, hint))


def load_networks(
    plan: Plan,
    registry: Registry,
    cache: NetworkCache,
    *,
    policy: Policy,
    objects: Sequence[tuple[HypernetworkLike, float]] = (),
    end: int = 0,
) -> LoadedNetworks:
    """Load the networks of a plan, and take those that a request holds itself.

    A file that cannot be read and a network that does not fit the model raise under ``strict``;
    otherwise they are skipped and reported, with a diagnostic under ``warn``.

    Args:
        plan: What the prompt names.
        registry: Where the files are.
        cache: Networks used of late.
        policy: What to do with a network that cannot be applied.
        objects: Networks in memory with their multipliers; they act behind the others.
        end: The prompt's length, which is where these are reported to stand.

    Raises:
        RequestError: An object that is no hypernetwork.
        NetworkFormatError: ``strict``, and a file is damaged, unsafe or gone.
        IncompatibleNetworkError: ``strict``, and a network does not fit.
    """
    found = _Findings(policy, reports=[skipped_report(tag) for tag in plan.skipped])
    effects = [_effect(kind, plan, registry, cache, found) for kind in tag_kinds()]
    found.reports.sort(key=lambda report: report.span.start)
    effects.append(_objects(objects, cache, found, end))
    return LoadedNetworks(tuple(effects), tuple(found.reports), tuple(found.diagnostics))


def _effect(
    kind: NetworkKind, plan: Plan, registry: Registry, cache: NetworkCache, found: _Findings
) -> NetworkEffect:
    """Load the networks of one kind."""
    planned = plan.of(kind.name)
    if not planned:
        return NetworkEffect()
    loader = cache.loader(kind)
    uses: list[LoadedUse[Any]] = []
    for use in planned:
        try:
            # A multiplier of 0 disables, but a broken file behind it is still worth a word.
            network = loader.load(use.entry)
            digest, short = registry.digest(use.entry), registry.short_hash(use.entry)
        except (NetworkFormatError, IncompatibleNetworkError) as error:
            found.refuse(use, error)
            continue
        if idle := loader.idle(network, use):
            found.reports.append(use_report(use, reason=idle, short_hash=short))
        else:
            uses.append(LoadedUse(network, use, digest))
            found.reports.append(use_report(use, digest=digest, short_hash=short))
        found.diagnostics += loader.remarks(network, use)
    return loader.effect(uses)


def _objects(
    objects: Sequence[tuple[HypernetworkLike, float]],
    cache: NetworkCache,
    found: _Findings,
    end: int,
) -> NetworkEffect:
    stack: list[tuple[Hypernetwork, float]] = []
    for network, multiplier in objects:
        if not isinstance(network, Hypernetwork):
            message = f"networks holds a {type(network).__name__}; it must be a Hypernetwork"
            raise RequestError(message, field="networks")
        use = ObjectUse(network.name, multiplier, Span(end, end))
        loader = cache.loader(HYPERNETWORK)
        assert isinstance(loader, HypernetworkLoader)
        try:
            own, digest = loader.adopt(network)
        except IncompatibleNetworkError as error:
            found.refuse(use, error)
            continue
        if multiplier == 0:
            found.reports.append(use.report(reason="multiplier is 0"))
        else:
            stack.append((own, multiplier))
            found.reports.append(use.report(digest=digest))
    fixed = tuple(stack)
    return NetworkEffect(at=lambda _: fixed)


def refusal_reason(error: PromptEngineError) -> str:
    """Say in a few words why a network is not applied, for its report."""
    if isinstance(error, UnsupportedNetworkError):
        return f"{error.noun} is not supported"
    return "does not fit" if isinstance(error, IncompatibleNetworkError) else "not readable"


def skipped_report(skipped: SkippedTag) -> NetworkReport:
    """Report a tag that names nothing that can be applied."""
    return NetworkReport(
        kind=skipped.tag.kind,
        name=skipped.tag.arguments[0],
        multiplier=skipped.multiplier,
        applied=False,
        reason=skipped.reason,
        span=skipped.tag.span,
    )


def _keeps_spelling(use: NetworkUse) -> bool:
    return NETWORK_KINDS[use.entry.kind].infotext.webui


def use_report(
    use: NetworkUse,
    *,
    reason: str = "",
    digest: str | None = None,
    short_hash: str | None = None,
) -> NetworkReport:
    """Report what became of a network that a tag names.

    Args:
        use: What the tag asks for.
        reason: Why it is not applied; empty where it is.
        digest: SHA-256 of its file in hex, where it is applied.
        short_hash: A LoRA's in WebUI's lists.
    """
    return NetworkReport(
        kind=use.tag.kind,
        name=use.name if _keeps_spelling(use) else use.entry.name,
        multiplier=use.multiplier,
        applied=not reason,
        reason=reason,
        span=use.span,
        path=use.entry.path,
        digest=digest,
        unet_multiplier=use.unet_multiplier,
        lora_hash=short_hash,
        multipliers=use.multipliers,
        text_multipliers=use.text_multipliers,
        blocks=use.blocks,
    )
