"""Other programs' notes about their images, recognized so that none is taken for a prompt.

Their words are not read: the program is named, and that is all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

__all__ = ["holds_json", "program_of"]

_UNKNOWN: Final = "another program, as JSON"
_NAMED_IN: Final = ("metadata_scheme", "version", "software", "generator", "app", "Software")
"""Keys under which programs write their own name."""


@dataclass(frozen=True, slots=True)
class _Program:
    """How one program's notes are told from others.

    Attributes:
        name: The program's.
        keywords: Of which an image's file has one.
        keys: Sets of keys, one of which is in a JSON object of the program's.
        words: What a text of its own that is no JSON looks like.
    """

    name: str
    keywords: frozenset[str] = frozenset()
    keys: tuple[frozenset[str], ...] = ()
    words: re.Pattern[str] | None = None


def _keys(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(one.split(",")) for one in sets)


_PROGRAMS: Final = (
    _Program("RuinedFooocus"),
    _Program(
        "Fooocus",
        frozenset({"fooocus_scheme"}),
        _keys("fooocus_v2_expansion", "Fooocus V2 Expansion", "metadata_scheme", "adm_guidance"),
    ),
    _Program("SwarmUI", keys=_keys("sui_image_params", "swarm_version")),
    _Program(
        "InvokeAI",
        frozenset({"invokeai_metadata", "invokeai_graph", "invokeai", "sd-metadata", "Dream"}),
        _keys("app_version,generation_mode", "positive_prompt,rand_device", "app_id,model_weights"),
        re.compile(r'"[^"]*" -s ?\d+ -S ?\d+'),
    ),
    _Program(
        "Easy Diffusion",
        frozenset({"use_stable_diffusion_model"}),
        _keys("use_stable_diffusion_model", "reqBody,numOutputsTotal"),
    ),
    _Program(
        "ComfyUI",
        frozenset({"workflow", "prompt"}),
        _keys("nodes,links", "last_node_id,nodes", "class_type,inputs"),
    ),
    _Program("Draw Things", keys=_keys("c,uc,sampler", "c,v2", "c,scale,seed,size")),
    _Program("NovelAI", keys=_keys("uc,sampler,noise_schedule", "signed_hash", "request_type,uc")),
    _Program(
        "Tensor.Art",
        frozenset({"generation_data"}),
        _keys("baseModel,samplerName", "models,prompt,cfgScale"),
    ),
    _Program("Stability Matrix", frozenset({"parameters-json", "smproj"})),
    _Program("Mochi Diffusion", words=re.compile(r"Include in Image: ")),
    _Program("Midjourney", words=re.compile(r"[^\0]*\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-")),
)


def program_of(texts: Mapping[str, str]) -> str:
    """Name the program that wrote the texts of a file, or return an empty string.

    Args:
        texts: By keyword; a text that stands alone has an empty one.
    """
    documents = [document for text in texts.values() if (document := _document(text)) is not None]
    objects = [one for document in documents for one in _objects(document)]
    for program in _PROGRAMS:
        name = program.name.lower()
        if any(name in str(one.get(key, "")).lower() for one in objects for key in _NAMED_IN):
            return program.name
        if name in texts.get("Software", "").lower():
            return program.name
    for program in _PROGRAMS:
        if any(keys <= one.keys() for keys in program.keys for one in objects):
            return program.name
    for program in _PROGRAMS:
        words = program.words
        if program.keywords & texts.keys() or (
            words is not None and any(words.match(text.lstrip()) for text in texts.values())
        ):
            return program.name
    return _UNKNOWN if documents else ""


def holds_json(text: str) -> bool:
    """Return whether a text is a JSON object or list of such, which no infotext is."""
    return _document(text) is not None


def _document(text: str) -> object | None:
    """Return the JSON object of a text, or its list of objects; None where it is anything else."""
    content = text.strip()
    if content[:1] + content[-1:] not in ("{}", "[]"):
        return None
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if any(True for _ in _objects(document)) else None


def _objects(document: object) -> list[dict[str, Any]]:
    """Return a document's objects: itself, or what it lists, and those directly within."""
    outer = cast("list[object]", document) if isinstance(document, list) else [document]
    found = [cast("dict[str, Any]", one) for one in outer if isinstance(one, dict) and one]
    inner = [value for one in found for value in one.values() if isinstance(value, dict)]
    return [*found, *cast("list[dict[str, Any]]", inner)]
