"""The prompt language as a service: what editors and front ends ask while somebody writes.

Plain functions over the parse of any dialect, and of templates: what is odd (:func:`diagnose`) and what mends it
(:func:`code_actions`), what can stand at a caret (:func:`complete`), what something does (:func:`hover`), what to color
(:func:`semantic_tokens`), canonical spacing (:func:`format_prompt`), and the weight keys (:func:`weight_up`).

Places are offsets of code points; :class:`Lines` converts them for the Language Server Protocol. Nothing here needs torch.
"""

from promptengine.language.completion import Completion, Completions, complete
from promptengine.language.diagnosis import CodeAction, code_actions, diagnose
from promptengine.language.formatting import format_prompt
from promptengine.language.hovers import Hover, hover
from promptengine.language.positions import Lines
from promptengine.language.syntax import PromptSyntax
from promptengine.language.tokens import SemanticToken, semantic_tokens
from promptengine.language.vocabulary import Vocabulary
from promptengine.language.weights import TextEdit, weight_down, weight_up

__all__ = [
    "CodeAction",
    "Completion",
    "Completions",
    "Hover",
    "Lines",
    "PromptSyntax",
    "SemanticToken",
    "TextEdit",
    "Vocabulary",
    "code_actions",
    "complete",
    "diagnose",
    "format_prompt",
    "hover",
    "semantic_tokens",
    "weight_down",
    "weight_up",
]
