"""Reading prompts: text in, trees, schedules and weighted fragments out.

Text only: nothing here needs torch, and Lark is imported by the first prompt that needs a parser.
"""

from promptengine.syntax.attention import attention, emphasis
from promptengine.syntax.excerpt import Excerpt
from promptengine.syntax.parse import parse
from promptengine.syntax.schedule import bracketed_tags, schedule
from promptengine.syntax.tree import (
    Alternating,
    Break,
    Diagnostic,
    Dialect,
    Emphasis,
    Fragment,
    Group,
    Node,
    Part,
    Prompt,
    Schedule,
    Scheduled,
    Segment,
    Severity,
    Span,
    Tag,
    Text,
)

__all__ = [
    "Alternating",
    "Break",
    "Diagnostic",
    "Dialect",
    "Emphasis",
    "Excerpt",
    "Fragment",
    "Group",
    "Node",
    "Part",
    "Prompt",
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
