"""Samplers, schedule types and other objects that other packages add: where they come from and how.

A package declares them as entry points::

    [project.entry-points."promptengine.samplers"]
    "My sampler" = "my_package:MY_SAMPLER"

and a script calls ``register_sampler(MY_SAMPLER)`` before it makes an image. Both add to one
:class:`ObjectRegistry` for each group, which lasts as long as the process. It can be shared because it
only grows, refuses a second object of one name, and is filled before it is first read, so that what
a name means never depends on who asks when.

Only packages that are installed are loaded, never a file from the models folder. Set
``PROMPTENGINE_PLUGINS`` to the names of packages to load these only, or to nothing to load none.
"""

from __future__ import annotations

import os
import pkgutil
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from promptengine.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUPS",
    "SCRIPT",
    "LazyFunction",
    "ObjectRegistry",
    "Plugin",
    "PluginObject",
    "PluginWarning",
    "isolated_plugins",
    "load_plugins",
    "plugins_of",
    "short_warnings",
]

GROUPS: Final[Mapping[str, str]] = {
    "promptengine.samplers": "promptengine.request.samplers:SAMPLERS",
    "promptengine.schedulers": "promptengine.request.schedulers:SCHEDULERS",
    "promptengine.upscalers": "promptengine.images.upscalers:UPSCALERS",
    "promptengine.grid_axes": "promptengine.xyz_plot.axes:AXIS_KINDS",
    "promptengine.commands": "promptengine.cli.main:COMMANDS",
    "promptengine.network_kinds": "promptengine.kinds.table:NETWORK_KINDS",
    "promptengine.dialects": "promptengine.prompt.dialects:DIALECTS",
    "promptengine.image_readers": "promptengine.infotext.programs.table:IMAGE_READERS",
    "promptengine.scripts": "promptengine.scripts.table:SCRIPTS",
}
"""The registry behind each group of entry points, named and not imported: all of them build on this module."""

VARIABLE: Final = "PROMPTENGINE_PLUGINS"

T = TypeVar("T")


class PluginWarning(UserWarning):
    """A plugin that was skipped, and why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """Who added an object.

    Attributes:
        name: Of the installed package, or what a script calls itself.
        version: Of the package; empty for a script.
    """

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


SCRIPT: Final = "script"
"""What a script that registers objects is called where it does not say."""


@dataclass(frozen=True, slots=True)
class PluginObject:
    """One object that was added, or was to be.

    Attributes:
        group: Of entry points.
        name: As users write it.
        plugin: Who added it.
        problem: Why it was skipped; empty where it was not.
    """

    group: str
    name: str
    plugin: Plugin
    problem: str = ""


class ObjectRegistry(Mapping[str, T], Generic[T]):
    """Objects by their names: those of this package in order, then those that were added.

    The entry points of the group are loaded when the registry is first read.

    Args:
        group: Of entry points.
        noun: What an object is called in messages.
        types: What an object must be an instance of.
        builtins: This package's own.
        spellings: All that users may write for an object, its name first.
        check: Raises ValueError where an object cannot be used.
    """

    def __init__(
        self,
        group: str,
        noun: str,
        types: type[T] | tuple[type[T], ...],
        builtins: Iterable[T],
        *,
        spellings: Callable[[T], Iterable[str]],
        check: Callable[[T], None] = lambda item: None,
    ) -> None:
        self.group, self.noun = group, noun
        self._types, self._spellings, self._check = types, spellings, check
        self._builtins = {self._name(item): item for item in builtins}
        self._lock = threading.RLock()
        self._added: dict[str, tuple[T, Plugin]] = {}
        self._skipped: list[PluginObject] = []
        self._loaded = False

    def __getitem__(self, name: str) -> T:
        if name in self._builtins:
            return self._builtins[name]
        self._load()
        return self._added[name][0]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter([*self._builtins, *self._added])

    def __len__(self) -> int:
        self._load()
        return len(self._builtins) + len(self._added)

    @property
    def builtins(self) -> Mapping[str, T]:
        """This package's own, whose names no plugin can take; reading them loads none."""
        return self._builtins

    def register(self, item: object, plugin: Plugin) -> None:
        """Add an object.

        Raises:
            PluginError: It is of another type, cannot be used, or has a name or alias that is taken.
        """
        self._load()
        with self._lock:
            self._add(item, plugin)

    def plugin_of(self, name: str) -> Plugin | None:
        """Return who added an object, or None for one of this package's own."""
        if name in self._builtins:
            return None
        self._load()
        added = self._added.get(name)
        return None if added is None else added[1]

    def objects(self) -> list[PluginObject]:
        """List what was added, and what was skipped."""
        self._load()
        added = [PluginObject(self.group, name, by) for name, (_, by) in self._added.items()]
        return [*added, *self._skipped]

    @contextmanager
    def isolated(self) -> Generator[None]:
        """Forget at the end what was added inside; inside, entry points are looked for again."""
        kept = self._added, self._skipped, self._loaded
        self._added, self._skipped, self._loaded = {}, [], False
        try:
            yield
        finally:
            self._added, self._skipped, self._loaded = kept

    def _load(self) -> None:
        with self._lock:
            if self._loaded:
                return
            # Before the first import: a plugin may read the registry while it is loaded.
            self._loaded = True
            for entry in _entry_points(self.group):
                self._add_entry(entry)
        for item in self._skipped:
            message = f"plugin {item.plugin}: {self.noun} {item.name!r} is skipped: {item.problem}"
            warnings.warn(message, PluginWarning, stacklevel=3)

    def _add_entry(self, entry: EntryPoint) -> None:
        plugin = _plugin_of(entry)
        try:
            item = entry.load()
            self._add(item, plugin, entry.name)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's module raises
            problem = (
                str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            )
            self._skipped.append(PluginObject(self.group, entry.name, plugin, problem))

    def _add(self, item: object, plugin: Plugin, entry: str | None = None) -> None:
        if not isinstance(item, self._types):
            types = self._types if isinstance(self._types, tuple) else (self._types,)
            wanted = " or ".join(one.__name__ for one in types)
            raise PluginError(f"a {self.noun} must be a {wanted} (got {type(item).__name__})")
        name = self._name(item)
        if entry is not None and entry != name:
            raise PluginError(
                f"the entry point is called {entry!r} and its {self.noun} {name!r}; give both one name"
            )
        taken = {
            spelling.lower(): (other, self._origin(other))
            for other, one in self._all().items()
            for spelling in self._spellings(one)
        }
        for spelling in self._spellings(item):
            if spelling.lower() in taken:
                other, origin = taken[spelling.lower()]
                raise PluginError(
                    f"{plugin} calls a {self.noun} {spelling!r}, and {origin} already has {other!r} of "
                    "that name; rename one"
                )
        try:
            self._check(item)
        except ValueError as error:
            raise PluginError(f"{self.noun} {name!r}: {error}") from None
        self._added[name] = item, plugin

    def _all(self) -> dict[str, T]:
        return self._builtins | {name: item for name, (item, _) in self._added.items()}

    def _origin(self, name: str) -> str:
        return str(self._added[name][1]) if name in self._added else "promptengine"

    def _name(self, item: T) -> str:
        return next(iter(self._spellings(item)))


def _entry_points(group: str) -> list[EntryPoint]:
    # Looking for plugins takes longer than all the rest of a command that needs none.
    from importlib import metadata

    from packaging.utils import canonicalize_name

    allowed = os.environ.get(VARIABLE)
    found = sorted(
        metadata.entry_points(group=group),
        key=lambda entry: (astuple(_plugin_of(entry)), entry.name),
    )
    if allowed is None:
        return found
    names = {canonicalize_name(name.strip()) for name in allowed.split(",") if name.strip()}
    return [entry for entry in found if canonicalize_name(_plugin_of(entry).name) in names]


def _plugin_of(entry: EntryPoint) -> Plugin:
    if entry.dist is None:
        return Plugin(entry.value.partition(":")[0])
    return Plugin(entry.dist.name, entry.dist.version)


@dataclass(frozen=True, slots=True)
class LazyFunction:
    """A function that is imported when it is first called.

    Objects name functions that need torch in this way, so that knowing the objects does not load it.

    Attributes:
        path: As ``module:name``.
    """

    path: str

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Call it."""
        return pkgutil.resolve_name(self.path)(*arguments, **settings)


def load_plugins() -> list[PluginObject]:
    """Load all plugins, and list their objects with those that were skipped."""
    found = (item for group in GROUPS for item in _registry(group).objects())
    return sorted(found, key=astuple)


def plugins_of(*used: tuple[ObjectRegistry[Any], str]) -> tuple[Plugin, ...]:
    """Name the plugins that objects come from, each once, without this package's own.

    Args:
        used: The registry and the name of each object.
    """
    found = (registry.plugin_of(name) for registry, name in used)
    return tuple(sorted({plugin for plugin in found if plugin is not None}, key=astuple))


def _registry(group: str) -> ObjectRegistry[object]:
    return cast("ObjectRegistry[object]", pkgutil.resolve_name(GROUPS[group]))


@contextmanager
def isolated_plugins() -> Generator[None]:
    """Forget at the end what was registered inside, for tests; inside, plugins are looked for again."""
    with ExitStack() as stack:
        for group in GROUPS:
            stack.enter_context(_registry(group).isolated())
        yield


@contextmanager
def short_warnings() -> Generator[None]:
    """Print warnings about plugins as one line each, for programs whose users read them."""
    usual = warnings.formatwarning

    def format_warning(
        message: Warning | str, category: type[Warning], *place: Any, **more: Any
    ) -> str:
        if issubclass(category, PluginWarning):
            return f"promptengine: warning: {message}\n"
        return usual(message, category, *place, **more)

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = usual
