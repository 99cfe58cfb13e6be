"""The dialects of the prompt language, as objects; what reads them is loaded when it is first used."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Protocol

from promptengine.errors import RequestError
from promptengine.plugins import SCRIPT, LazyFunction, ObjectRegistry, Plugin
from promptengine.prompt.ast import Prompt
from promptengine.validation import check_type, shown

__all__ = [
    "COMPEL_RULE",
    "DIALECTS",
    "FROM_EMPTY",
    "WEBUI",
    "WEBUI_RULE",
    "Dialect",
    "DialectName",
    "KnownDialect",
    "ReadPrompt",
    "WeightRule",
    "find_dialect",
    "register_dialect",
    "written_dialect",
]

WEBUI: Final = "webui"
"""WebUI's language to the letter, which is read where nothing else is asked for."""


class ReadPrompt(Protocol):
    """What makes a tree of a text."""

    def __call__(self, text: str, *, comments: bool, negative: bool) -> Prompt:
        """Read a prompt.

        Args:
            text: Any string; reading it raises nothing.
            comments: Whether ``#`` begins a comment that reaches to the end of its line.
            negative: Read as a negative prompt, which has no tags and exactly one part, of weight 1.

        Returns:
            The tree, of one part at least. Its spans count characters of ``text``.
        """
        ...


@dataclass(frozen=True, slots=True)
class WeightRule:
    """What the weights of a prompt do to its encoding.

    Attributes:
        name: In a few words, as messages and lists show it.
        encode: Encodes a schedule, called as :func:`promptengine.text.conditioning.encode_schedule` is with
            the text model of each segment, of which it takes the keywords ``embeddings`` and
            ``comma_backtrack``; None for WebUI's rules, one of which the option ``emphasis`` picks.
    """

    name: str
    encode: Any = None


WEBUI_RULE: Final = WeightRule("WebUI's: the state times the weight, and the mean kept")
FROM_EMPTY: Final = WeightRule(
    "ComfyUI's: from the empty prompt's state as far as the weight says",
    LazyFunction("promptengine.text.weight_rules:encode_from_empty"),
)
COMPEL_RULE: Final = WeightRule(
    "compel's: from the empty prompt's state, and below 1 toward the prompt without the words",
    LazyFunction("promptengine.text.compel_rule:encode_compel"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way to write prompts.

    Attributes:
        name: As requests spell it, and infotexts under ``Prompt syntax``.
        read: Makes a tree of a text.
        label: As lists show it; by default the name.
        help: What it is for, as the end of a sentence that begins with its name.
        schedules_tags: Whether tags within ``[a:b:0.5]`` and ``[a|b]`` hold at some steps only. ``read``
            then puts them among the nodes of a part.
        curves: Whether multipliers such as ``0@0,1@0.5`` change over the steps.
        regions: Whether ``ADDCOL`` and its like divide the image.
        aliases: Other names that infotexts may have for it.
        silent: Whether infotexts do not name it, because WebUI reads prompts so, too.
        weights: What weights do.
        style: Returns how it is written, a :class:`promptengine.prompt.writing.Style`; None where it can
            only be read.
    """

    name: str
    read: ReadPrompt
    label: str = ""
    help: str = ""
    schedules_tags: bool = False
    curves: bool = False
    regions: bool = False
    aliases: tuple[str, ...] = ()
    silent: bool = False
    weights: WeightRule = WEBUI_RULE
    style: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class _Style:
    """A style, which is loaded when it is first used."""

    name: str

    def __call__(self) -> Any:
        return pkgutil.resolve_name(f"promptengine.prompt.styles:{self.name}")


def _check(dialect: Dialect) -> None:
    if not dialect.name or any(mark in dialect.name for mark in ',:\r\n"'):
        raise ValueError("its name must be a word that an infotext can hold")


_READ: Final = LazyFunction("promptengine.prompt.parser:read_brackets")

DIALECTS: Final[ObjectRegistry[Dialect]] = ObjectRegistry(
    "promptengine.dialects",
    "dialect",
    Dialect,
    (
        Dialect(
            WEBUI,
            partial(_READ, schedules_tags=False, regions=False),
            label="WebUI's",
            aliases=("pe1",),
            style=_Style("WEBUI"),
            silent=True,
        ),
        Dialect(
            "extended",
            partial(_READ, schedules_tags=True, regions=True),
            label="Extended",
            help="lets networks change over the steps: <hypernet:ink:0@0,1@0.5>, and divides images into "
            "regions: a cat ADDCOL a dog",
            schedules_tags=True,
            curves=True,
            regions=True,
            style=_Style("EXTENDED"),
        ),
        Dialect(
            "compel",
            LazyFunction("promptengine.prompt.compel:read_compel"),
            label="compel's",
            help='reads InvokeAI\'s prompts: word++, (words)1.3, ("a", "b").blend(0.7, 0.3)',
            weights=COMPEL_RULE,
            style=_Style("COMPEL"),
        ),
        Dialect(
            "novelai",
            LazyFunction("promptengine.prompt.novelai:read_novelai"),
            label="NovelAI's",
            help="reads {more}, [less] and 1.5::exactly::",
            style=_Style("NOVELAI"),
        ),
        Dialect(
            "comfyui",
            LazyFunction("promptengine.prompt.comfyui:read_comfyui"),
            label="ComfyUI's",
            help="reads (words:1.3) with ComfyUI's weights, and embedding:name",
            weights=FROM_EMPTY,
            style=_Style("COMFYUI"),
        ),
        Dialect(
            "swarmui",
            LazyFunction("promptengine.prompt.swarmui:read_swarmui"),
            label="SwarmUI's",
            help="reads <alternate:a, b>, <fromto[0.5]:a, b>, <lora:name:0.8> and ComfyUI's weights",
            weights=FROM_EMPTY,
            style=_Style("SWARMUI"),
        ),
    ),
    spellings=lambda dialect: (dialect.name, *dialect.aliases),
    check=_check,
)
"""Every dialect by its name, WebUI's own first."""


@dataclass(frozen=True, slots=True)
class KnownDialect:
    """A rule for fields: the name of a dialect."""

    def problem(self, value: str) -> str:
        """Say what is wrong with a name; empty if nothing is."""
        return "" if value in DIALECTS else f"; it must be one of {', '.join(DIALECTS)}"


DialectName = Annotated[str, KnownDialect()]
"""The name of a dialect that there is."""


def find_dialect(name: str) -> Dialect:
    """Look a dialect up by its name.

    Raises:
        RequestError: No such dialect; the message lists what there is.
    """
    check_type("dialect", name, str)
    if name not in DIALECTS:
        message = f"dialect is {shown(name)}{KnownDialect().problem(name)}"
        raise RequestError(message, field="dialect")
    return DIALECTS[name]


def written_dialect(text: str) -> Dialect | None:
    """Look up which dialect ``Prompt syntax`` of an infotext means; None where it is not here."""
    spelled = (one for one in DIALECTS.values() if text in (one.name, *one.aliases))
    return next(spelled, None)


def register_dialect(dialect: Dialect, *, origin: str = SCRIPT) -> None:
    """Add a dialect of the prompt language for the rest of the process.

    Args:
        dialect: The dialect.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no dialect, or has a name or alias that is taken.
    """
    DIALECTS.register(dialect, Plugin(origin))
