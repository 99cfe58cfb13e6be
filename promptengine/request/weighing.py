"""Which options about weights go with a dialect."""

from __future__ import annotations

from promptengine.errors import RequestError
from promptengine.prompt import parse
from promptengine.prompt.dialects import DIALECTS, WEBUI_RULE
from promptengine.request.options import Options

__all__ = ["check_weighing"]

_WEBUIS_OWN = ("emphasis", "old_emphasis", "negative_weights")


def check_weighing(dialect: str, options: Options) -> None:
    """Refuse options of WebUI's rule for weights where a dialect has a rule of its own.

    Args:
        dialect: The name of one that there is.
        options: Of these ``emphasis``, ``old_emphasis`` and ``negative_weights`` are looked at.

    Raises:
        RequestError: One of them is not as it is by default; names it. Where a dialect has WebUI's rule but other
            marks, ``old_emphasis`` alone, which reads WebUI's.
    """
    if DIALECTS[dialect].weights == WEBUI_RULE:
        # The first versions of WebUI weigh words while they cut a text into tokens, by WebUI's brackets.
        if options.old_emphasis and parse("", dialect=dialect).parts[0].weigh is not None:
            message = f"old_emphasis is True, and dialect {dialect!r} has other marks of weights than WebUI"
            raise RequestError(f"{message}; leave it out", field="old_emphasis")
        return
    usual = Options()
    for name in _WEBUIS_OWN:
        value = getattr(options, name)
        if value != getattr(usual, name):
            message = (
                f"{name} is {value!r}, and dialect {dialect!r} weighs words by a rule of its own"
            )
            raise RequestError(f"{message}; leave it out", field=name)
