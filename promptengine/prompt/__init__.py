"""Reading prompts: text in, trees, schedules and weighted fragments out.

Text only: nothing here needs torch, and the tables of a grammar are read by the first prompt that needs it.
"""

from promptengine.prompt.ast import (
    Alternating,
    Break,
    Diagnostic,
    Emphasis,
    Fragment,
    Group,
    Node,
    Part,
    Prompt,
    Regions,
    Related,
    Remedy,
    Schedule,
    Scheduled,
    Segment,
    Severity,
    Span,
    Tag,
    Text,
)
from promptengine.prompt.dialects import DIALECTS, Dialect
from promptengine.prompt.emphasis import attention, emphasis
from promptengine.prompt.parser import parse
from promptengine.prompt.schedule import bracketed_tags, schedule
from promptengine.prompt.source_map import MappedText

__all__ = [
    "DIALECTS",
    "Alternating",
    "Break",
    "Diagnostic",
    "Dialect",
    "Emphasis",
    "Fragment",
    "Group",
    "MappedText",
    "Node",
    "Part",
    "Prompt",
    "Regions",
    "Related",
    "Remedy",
    "Schedule",
    "Scheduled",
    "Segment",
    "Severity",
    "Span",
    "Tag",
    "Text",
    "attention",
    "bracketed_tags",
    "emphasis",
    "parse",
    "schedule",
]
