"""A plan's networks, loaded and checked against the model: what will run, and what became of the rest."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from promptengine.errors import IncompatibleNetworkError, NetworkFormatError, PromptEngineError
from promptengine.networks.files import load_hypernetwork
from promptengine.networks.hypernetwork import Hypernetwork
from promptengine.networks.inject import attention_widths, require_fit
from promptengine.plan import NetworkUse, Plan, SkippedTag
from promptengine.registry import Registry, RegistryEntry
from promptengine.request import NetworkReport, Policy
from promptengine.syntax import Diagnostic

__all__ = ["NetworkCache", "NetworkStack", "prepare_stack"]


class NetworkCache:
    """Recently used networks, found again by file, time and size.

    Never by the name inside the file: a training snapshot carries its parent's name, and a changed
    file is another network.

    Args:
        unet: The model the networks are for; they are cast to its device and dtype once.
        capacity: How many networks to keep.
    """

    def __init__(self, unet: nn.Module, capacity: int = 16) -> None:
        weight = next(unet.parameters())
        self._place = (weight.device, weight.dtype)
        self._capacity = capacity
        self._kept: OrderedDict[tuple[Path, int, int], Hypernetwork] = OrderedDict()

    def load(self, entry: RegistryEntry) -> Hypernetwork:
        """Return the network of a file, from memory if the file is unchanged.

        Raises:
            NetworkFormatError: The file is gone, damaged, unsafe or no hypernetwork.
        """
        key = (entry.path, entry.mtime_ns, entry.size)
        network = self._kept.pop(key, None)
        if network is None:
            device, dtype = self._place
            network = load_hypernetwork(entry.path).cast_to(device=device, dtype=dtype)
        self._kept[key] = network
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return network


@dataclass(frozen=True, slots=True, eq=False)
class NetworkStack:
    """What a plan's tags came to.

    Attributes:
        uses: Networks with their multipliers, in order of application; none of multiplier 0.
        reports: One per tag of the prompt, in the order of the tags.
        diagnostics: What went wrong, for people.
    """

    uses: tuple[tuple[Hypernetwork, float], ...]
    reports: tuple[NetworkReport, ...]
    diagnostics: tuple[Diagnostic, ...]


def prepare_stack(
    plan: Plan, unet: nn.Module, registry: Registry, cache: NetworkCache, *, policy: Policy
) -> NetworkStack:
    """Load the networks of a plan.

    A file that cannot be read and a network that does not fit the model raise under ``strict``;
    otherwise they are skipped and reported, with a diagnostic under ``warn``.

    Raises:
        NetworkFormatError: ``strict``, and a file is damaged, unsafe or gone.
        IncompatibleNetworkError: ``strict``, and a network does not fit.
    """
    uses: list[tuple[Hypernetwork, float]] = []
    reports = [_skipped(tag) for tag in plan.skipped]
    diagnostics: list[Diagnostic] = []
    widths = attention_widths(unet)
    for use in plan.networks:
        try:
            # A multiplier of 0 disables, but a broken file behind it is still worth a word.
            network = cache.load(use.entry)
            require_fit(widths, network, name=use.entry.name)
            digest = registry.digest(use.entry)
        except (NetworkFormatError, IncompatibleNetworkError) as error:
            if policy == "strict":
                raise
            reports.append(_report(use, reason=_reason(error)))
            if policy == "warn":
                hint = "it is not applied"
                diagnostics.append(Diagnostic("warning", str(error), use.span, hint))
            continue
        if use.multiplier == 0:
            reports.append(_report(use, reason="multiplier is 0"))
        else:
            uses.append((network, use.multiplier))
            reports.append(_report(use, digest=digest))
    reports.sort(key=lambda report: report.span.start)
    return NetworkStack(tuple(uses), tuple(reports), tuple(diagnostics))


def _reason(error: PromptEngineError) -> str:
    return "does not fit" if isinstance(error, IncompatibleNetworkError) else "not readable"


def _skipped(skipped: SkippedTag) -> NetworkReport:
    return NetworkReport(
        kind=skipped.tag.kind,
        name=skipped.tag.arguments[0],
        multiplier=skipped.multiplier,
        applied=False,
        reason=skipped.reason,
        span=skipped.tag.span,
    )


def _report(use: NetworkUse, *, reason: str = "", digest: str | None = None) -> NetworkReport:
    return NetworkReport(
        kind=use.entry.kind,
        name=use.entry.name,
        multiplier=use.multiplier,
        applied=not reason,
        reason=reason,
        span=use.span,
        path=use.entry.path,
        digest=digest,
    )
