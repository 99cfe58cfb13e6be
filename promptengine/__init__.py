"""An inference engine for Stable Diffusion that understands WebUI prompts and hypernetworks.

Reading a prompt needs no model::

    from promptengine import parse
    parse("a (cat:1.3) <hypernet:ink:0.8>").tags

Making an image does::

    from promptengine import Engine, GenerationRequest
    engine = Engine.open("model.safetensors", models="models")
    result = engine.generate(GenerationRequest(prompt="a cat <hypernet:ink:0.8>"))
    result.images[0].save("cat.png")

Importing this package loads nothing else; names are loaded when they are first used. ``__init__.pyi`` is the list
of them, for type checkers and at run time.
"""

from collections.abc import Callable
from functools import cache


@cache
def _attached() -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    # The list is read by the first name that is asked for: the command line asks for none.
    from lazy_loader import attach_stub

    return attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    load, _, names = _attached()
    return names if name == "__all__" else load(name)


def __dir__() -> list[str]:
    return _attached()[1]()
