"""The prompt language as a service: what an editor asks about a text, each question a route of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from promptengine.errors import RequestError
from promptengine.language.completion import MOST, Completion, complete
from promptengine.language.diagnosis import diagnose
from promptengine.language.formatting import format_prompt
from promptengine.language.hovers import hover
from promptengine.language.syntax import PromptSyntax
from promptengine.language.tokens import TokenKind, semantic_tokens
from promptengine.language.weights import STEP, weight_down, weight_up
from promptengine.prompt.dialects import WEBUI
from promptengine.prompt.serialize import diagnostic_document
from promptengine.server.auth import BoundedRoute
from promptengine.server.limits import check_texts
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.v1.forms import StrictForm, Text, answer_of
from promptengine.server.v1.routes import PREFIX, read_prompt
from promptengine.server.v1.schemas import Codes, DiagnosticForm, DialectText, ReadPrompt

__all__ = [
    "CompletionForm",
    "Completions",
    "EditForm",
    "Formatted",
    "HoverForm",
    "Hovered",
    "LanguageForm",
    "TokenForm",
    "WeightForm",
    "router",
]

router: Final = APIRouter(
    prefix=f"{PREFIX}/language",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)

_Offset = Annotated[int, Field(ge=0, le=10_000_000)]


class LanguageForm(StrictForm):
    """A text, and how it is read; all offsets count its characters from 0. ``dynamic`` says that it is a template."""

    text: Text
    dialect: DialectText = WEBUI
    negative: bool = False
    comments: bool = True
    dynamic: bool = False
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    ignored_diagnostics: Codes = Field(default_factory=list[str])


class CompletionForm(LanguageForm):
    """A caret in a text; ``explicit`` says that somebody asked, and did not only type."""

    offset: _Offset
    explicit: bool = False
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50


class HoverForm(LanguageForm):
    """A character of a text."""

    offset: _Offset


class WeightForm(LanguageForm):
    """A selection of a text, or a caret, and whether its weight shall be more."""

    start: _Offset
    end: _Offset
    up: bool
    step: Annotated[float, Field(ge=0.001, le=10)] = STEP


class CompletionItem(answer_of(Completion)):
    __doc__ = Completion.__doc__


class Completions(BaseModel):
    """What can stand at a caret, the likeliest first; ``complete`` says that these are all."""

    items: list[CompletionItem]
    complete: bool


class Hovered(BaseModel):
    """What a place does, in sentences, and where what they tell of stands."""

    start: int
    end: int
    lines: list[str]


class TokenForm(BaseModel):
    """A stretch of a text, on one line: what it is, and of words their weight."""

    start: int
    end: int
    kind: TokenKind
    weight: float


class Formatted(BaseModel):
    """A text with canonical spacing."""

    text: str


class EditForm(BaseModel):
    """A change of a text: what stands in place of ``start`` to ``end``, and the selection in the new text."""

    start: int
    end: int
    text: str
    select: tuple[int, int]


# What an editor shows of a text at once: what looks odd, marks, networks, schedules and tokens.
router.post("/read", response_model=ReadPrompt)(read_prompt)


def _syntax(service: Service, form: LanguageForm) -> PromptSyntax:
    """Check a text's length, and return how it is read."""
    check_texts({"text": form.text}, service.config.limits)
    return PromptSyntax(
        dialect=form.dialect,
        negative=form.negative,
        comments=form.comments,
        dynamic=form.dynamic,
        steps=form.steps,
        ignored_diagnostics=tuple(form.ignored_diagnostics),
    )


def _check_offset(name: str, offset: int, text: str) -> None:
    if offset > len(text):
        message = f"{name} is {offset}; it must be 0 to {len(text)}, the text's length"
        raise RequestError(message, field=name)


@router.post("/diagnose")
def diagnostics(service: Served, form: LanguageForm) -> list[DiagnosticForm]:
    """Tell what looks odd in a text, with what mends it, and what of it the folders do not have."""
    found = diagnose(form.text, _syntax(service, form), service.vocabulary)
    told = [diagnostic_document(one) for one in found]
    for one in told:
        one["message"] = service.shown.text(one["message"])
    return [DiagnosticForm(**one) for one in told]


@router.post("/complete", response_model=Completions)
def completions(service: Served, form: CompletionForm) -> Response:
    """Offer what can stand at a caret: kinds, networks, multipliers, embeddings, wildcards, keywords, listed words."""
    syntax = _syntax(service, form)
    _check_offset("offset", form.offset, form.text)
    found = complete(
        form.text,
        form.offset,
        service.vocabulary,
        syntax,
        explicit=form.explicit,
        limit=form.limit,
    )
    # Whoever types waits for it: its types are checked where it is made.
    return Json({"items": [asdict(one) for one in found.items], "complete": found.complete})


@router.post("/hover")
def hovered(service: Served, form: HoverForm) -> Hovered | None:
    """Tell what a character does: its weight, when it acts, which file it means; null for plain words."""
    syntax = _syntax(service, form)
    _check_offset("offset", form.offset, form.text)
    found = hover(form.text, form.offset, service.vocabulary, syntax)
    if found is None:
        return None
    lines = [service.shown.text(line) for line in found.lines]
    return Hovered(start=found.span.start, end=found.span.end, lines=lines)


@router.post("/tokens", response_model=list[TokenForm])
def tokens(service: Served, form: LanguageForm) -> Response:
    """Tell what each stretch of a text is, ascending and without overlap; plain words are left out."""
    found = semantic_tokens(form.text, _syntax(service, form))
    return Json(
        [
            {"start": one.span.start, "end": one.span.end, "kind": one.kind, "weight": one.weight}
            for one in found
        ]
    )


@router.post("/format")
def formatted(service: Served, form: LanguageForm) -> Formatted:
    """Write a text with canonical spacing; it says the same."""
    return Formatted(text=format_prompt(form.text, _syntax(service, form)))


@router.post("/weight")
def weighed(service: Served, form: WeightForm) -> EditForm | None:
    """Raise or lower the weight of a selection as WebUI's keys do; null where nothing can be weighed."""
    syntax = _syntax(service, form)
    _check_offset("start", form.start, form.text)
    _check_offset("end", form.end, form.text)
    move = weight_up if form.up else weight_down
    edit = move(form.text, form.start, form.end, form.step, syntax)
    if edit is None:
        return None
    return EditForm(start=edit.start, end=edit.end, text=edit.text, select=edit.select)
