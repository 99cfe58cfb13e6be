"""What the public signatures name, read off the source: types for checkers alone count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "promptengine"


class Name(NamedTuple):
    """Something that a module of the package defines."""

    module: str
    name: str


@cache
def tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def exports() -> dict[str, str]:
    """The stub's names and the modules that they come from."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for node in stub.body:
        assert isinstance(node, ast.ImportFrom), "the stub holds re-exports alone"
        assert node.level == 1
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name} is not re-exported under its own name"
            assert alias.name not in found
            found[alias.name] = f"promptengine.{node.module}"
    return found


@cache
def imported(module: str) -> dict[str, Name]:
    """What a module imports from the package, for type checkers too."""
    return {
        alias.asname or alias.name: Name(node.module or "", alias.name)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("promptengine")
        for alias in node.names
    }


@cache
def defined(module: str) -> dict[str, ast.stmt]:
    """The classes, functions and type aliases of a module."""
    found: dict[str, ast.stmt] = {}
    for node in tree(module).body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)]):
                found[name] = node
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = node
            case _:
                pass
    return found


def resolve(module: str, name: str) -> Name | None:
    """Where a name of a module is defined within the package; None for all else."""
    while name not in defined(module):
        if name not in imported(module):
            return None
        module, name = imported(module)[name]
    return Name(module, name)


def names_in(annotation: ast.expr | None) -> Iterator[str]:
    """Names in an annotation; what follows the type in ``Annotated`` and literals are none."""
    match annotation:
        case ast.Name(id=name):
            yield name
        case ast.Subscript(value=ast.Name(id="Literal")) | None:
            return
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            yield from names_in(first)
        case ast.Constant(value=str(text)):
            yield from names_in(ast.parse(text, mode="eval").body)
        case _:
            for child in ast.iter_child_nodes(annotation):
                if isinstance(child, ast.expr):
                    yield from names_in(child)


def annotations(node: ast.stmt) -> Iterator[ast.expr | None]:
    """The annotations of what callers see of a definition."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            every = node.args
            for argument in (*every.posonlyargs, *every.args, *every.kwonlyargs):
                yield argument.annotation
            yield node.returns
        case ast.ClassDef():
            yield from node.bases
            for member in node.body:
                name = getattr(member, "name", getattr(getattr(member, "target", None), "id", "_"))
                if name == "__init__" or not name.startswith("_"):
                    yield from annotations(member)
        case ast.AnnAssign():
            yield node.annotation
            if is_alias(node):
                yield node.value
        case ast.Assign():
            yield node.value
        case _:
            pass


def is_alias(node: ast.AnnAssign) -> bool:
    return isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"


def is_transparent(found: Name) -> bool:
    """Whether a name only abbreviates a type, as ``Seed`` and what has no name outside do."""
    match defined(found.module)[found.name]:
        case ast.Assign(value=ast.Subscript(value=ast.Name(id="Annotated"))):
            return True
        case ast.Assign() | ast.AnnAssign():
            return found.name.startswith("_") or found.name == "PathLike"
        case _:
            return False


def reachable(start: Name, through: frozenset[Name] = frozenset()) -> Iterator[Name]:
    """The package's own names in the signatures of a name."""
    for annotation in annotations(defined(start.module)[start.name]):
        for name in names_in(annotation):
            found = resolve(start.module, name)
            if found is None or found in through:
                continue
            if is_transparent(found):
                yield from reachable(found, through | {found})
            else:
                yield found
