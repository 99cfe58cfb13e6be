"""Words of the user's own lists, for prompts to be completed with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from promptengine.server.auth import BoundedRoute
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served
from promptengine.server.v1.routes import PREFIX

__all__ = ["FoundWords", "ListedWord", "router"]

router = APIRouter(
    prefix=f"{PREFIX}/words",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class ListedWord(BaseModel):
    """A word of the lists.

    Attributes:
        name: As the list spells it.
        text: As a prompt spells it.
        category: Its number in the list; -1 where it has none.
        count: How often it is used.
        alias: What matched, where it is not the name; else empty.
    """

    name: str
    text: str
    category: int
    count: int
    alias: str


class FoundWords(BaseModel):
    """Words that begin so, those used most first.

    Attributes:
        words: Those.
        known: How many words the lists have in all.
    """

    words: list[ListedWord]
    known: int


@router.get("")
def words(
    service: Served,
    prefix: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> FoundWords:
    """Find words of the CSV files in ``tags``, the folder beside that of the models, by how a part of them begins."""
    index = service.word_lists.index()
    found = [
        ListedWord(
            name=one.word.name,
            text=one.word.text,
            category=one.word.category,
            count=one.word.count,
            alias=one.alias,
        )
        for one in index.search(prefix, limit)
    ]
    return FoundWords(words=found, known=len(index))
