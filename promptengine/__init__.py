"""An inference engine for Stable Diffusion that understands WebUI prompts and hypernetworks.

Reading a prompt needs no model::

    from promptengine import parse
    parse("a (cat:1.3) <hypernet:ink:0.8>").tags

Making an image does::

    from promptengine import Engine, GenerationRequest
    engine = Engine.open("model.safetensors", models="models")
    result = engine.generate(GenerationRequest(prompt="a cat <hypernet:ink:0.8>"))
    result.images[0].save("cat.png")

Importing this package loads neither torch nor lark; names are loaded when they are first used. ``__init__.pyi`` is the list
of them, for type checkers and at run time.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
