"""The schedule types, as objects; what they compute is loaded when it is first used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, Protocol

from promptengine.errors import RequestError
from promptengine.plugins import SCRIPT, LazyFunction, ObjectRegistry, Plugin
from promptengine.request.options import Options
from promptengine.validation import shown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AUTOMATIC",
    "SCHEDULERS",
    "NoiseLevels",
    "Scheduler",
    "Spacing",
    "find_scheduler",
    "register_scheduler",
    "scheduler_label",
]

AUTOMATIC: Final = "automatic"
"""Leaves the schedule type to the sampler; the type of samplers that have none of their own."""


class NoiseLevels(Protocol):
    """What a schedule needs of a model; the rest of :class:`promptengine.sampling.sigmas.DiscreteSchedule`
    is for the rule that spaces it.
    """

    @property
    def lowest(self) -> float:
        """The lowest trained sigma."""
        ...

    @property
    def highest(self) -> float:
        """The highest trained sigma."""
        ...


Spacing = Callable[..., "Tensor"]
"""Table, steps, lowest sigma, highest sigma and rho, and by name the settings of the schedule type, to
sigmas ``[steps + 1]``, high to low."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A rule that spaces sigmas, which WebUI 1.10 calls a schedule type.

    Attributes:
        name: As APIs spell it.
        label: As WebUI shows it and writes it into infotexts.
        spacing: The rule.
        rho: Its default bend, or None where it has none.
        aliases: Other spellings than label and name.
        needs_model: Whether WebUI's rule asks the model for its levels, as its API says.
        settings: The rule's settings, and the fields of :class:`promptengine.request.options.Options` they
            come from.
    """

    name: str
    label: str
    spacing: Spacing
    rho: float | None = None
    aliases: tuple[str, ...] = ()
    needs_model: bool = False
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def spellings(self) -> tuple[str, ...]:
        """All that users may write for it."""
        return (self.name, self.label, *self.aliases)

    def sigmas(
        self,
        table: NoiseLevels,
        steps: int,
        *,
        lowest: float = 0.0,
        highest: float = 0.0,
        rho: float = 0.0,
        options: Options | None = None,
    ) -> Tensor:
        """Space the noise levels of a pass.

        Args:
            table: The model's noise levels.
            steps: 1 or more.
            lowest: Lowest sigma above 0; 0 is the model's. Rules with fixed levels ignore it.
            highest: Highest sigma; 0 is the model's.
            rho: Bend; 0 is the rule's own. Rules without one ignore it.
            options: What the rule's settings are read from; the defaults if None.

        Returns:
            ``[steps + 1]`` (the rule ``ddim`` may give more), high to low, float32; the last is 0
            but for the rule ``kl_optimal``.
        """
        low, high = lowest or table.lowest, highest or table.highest
        usual = options or Options()
        settings = {name: getattr(usual, own) for name, own in self.settings.items()}
        bend = 1.0 if self.rho is None else rho or self.rho
        return self.spacing(table, steps, low, high, bend, **settings)


def _rule(name: str) -> LazyFunction:
    return LazyFunction(f"promptengine.sampling.sigmas:{name}_sigmas")


def _check(scheduler: Scheduler) -> None:
    if AUTOMATIC in (spelling.lower() for spelling in scheduler.spellings):
        raise ValueError(
            f"{AUTOMATIC!r} leaves the schedule type to the sampler; take another name"
        )
    unknown = {*scheduler.settings.values()} - {option.name for option in fields(Options)}
    if unknown:
        raise ValueError(
            f"its settings name options that there are not: {', '.join(sorted(unknown))}"
        )


SCHEDULERS: Final[ObjectRegistry[Scheduler]] = ObjectRegistry(
    "promptengine.schedulers",
    "scheduler",
    Scheduler,
    (
        Scheduler("uniform", "Uniform", _rule("uniform"), needs_model=True),
        Scheduler("karras", "Karras", _rule("karras"), 7.0),
        Scheduler("exponential", "Exponential", _rule("exponential")),
        Scheduler("polyexponential", "Polyexponential", _rule("polyexponential"), 1.0),
        Scheduler(
            "sgm_uniform",
            "SGM Uniform",
            _rule("sgm_uniform"),
            aliases=("SGMUniform",),
            needs_model=True,
        ),
        Scheduler("kl_optimal", "KL Optimal", _rule("kl_optimal")),
        Scheduler("align_your_steps", "Align Your Steps", _rule("align_your_steps")),
        Scheduler("simple", "Simple", _rule("simple"), needs_model=True),
        Scheduler("normal", "Normal", _rule("normal"), needs_model=True),
        Scheduler("ddim", "DDIM", _rule("ddim"), needs_model=True),
        Scheduler(
            "beta",
            "Beta",
            _rule("beta"),
            needs_model=True,
            settings={"alpha": "beta_alpha", "beta": "beta_beta"},
        ),
    ),
    spellings=lambda scheduler: scheduler.spellings,
    check=_check,
)
"""Every schedule type by its name, in WebUI's order."""


def scheduler_label(name: str) -> str:
    """Return the label of a schedule type of :data:`SCHEDULERS`, or of :data:`AUTOMATIC`."""
    return "Automatic" if name == AUTOMATIC else SCHEDULERS[name].label


def find_scheduler(name: str) -> Scheduler | None:
    """Look a schedule type up by name, label or alias, in any case; None means automatic.

    Raises:
        RequestError: No such schedule type; the message lists what there is.
    """
    wanted = name.strip().lower()
    if wanted in ("", AUTOMATIC):
        return None
    known = {
        spelling.lower(): scheduler
        for scheduler in SCHEDULERS.values()
        for spelling in scheduler.spellings
    }
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {known[near[0]].name!r}?" if near else ""
    there = "there are " + ", ".join([AUTOMATIC, *SCHEDULERS])
    raise RequestError(f"unknown scheduler {shown(name)}; {hint or there}", field="scheduler")


def register_scheduler(scheduler: Scheduler, *, origin: str = SCRIPT) -> None:
    """Add a schedule type for the rest of the process.

    Args:
        scheduler: The schedule type.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no schedule type, or has a name, label or alias that is taken.
    """
    SCHEDULERS.register(scheduler, Plugin(origin))
