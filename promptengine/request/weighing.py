"""Which options about weights go with a dialect."""

from __future__ import annotations

from promptengine.errors import RequestError
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
        RequestError: One of them is not as it is by default; names it.
    """
    if DIALECTS[dialect].weights == WEBUI_RULE:
        return
    usual = Options()
    for name in _WEBUIS_OWN:
        value = getattr(options, name)
        if value != getattr(usual, name):
            message = (
                f"{name} is {value!r}, and dialect {dialect!r} weighs words by a rule of its own"
            )
            raise RequestError(f"{message}; leave it out", field=name)
