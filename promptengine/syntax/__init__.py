"""Reading prompts: text in, trees, schedules and weighted fragments out.

Text only: nothing here needs torch, and Lark is imported by the first prompt that needs a parser.
"""

from promptengine.syntax.attention import attention, emphasis
from promptengine.syntax.excerpt import Excerpt
from promptengine.syntax.parse import parse
from promptengine.syntax.schedule import schedule
from promptengine.syntax.tree import (
    Alternating,
    Break,
    Diagnostic,
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
    "emphasis",
    "parse",
    "schedule",
]
