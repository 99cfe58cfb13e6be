"""Checks a pickle of weights before anything is built from it: no opcode is run here.

A pickle is a program. Torch's weights-only reader lets it call a closed list of functions, but with
any arguments and any number of times, so that a few bytes can ask for gigabytes or hours. Here the
program is followed with stand-ins for its values, and only what files of weights need is let
through: tensors of numbers that the file holds, plain containers that are filled before they are put
into others, short constants. What a file may ask for grows with its size.

Nothing here imports torch, and nothing here raises for a file that torch would read and that
``torch.save`` wrote of weights, optimizers and trainers' plain state.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, Literal, NoReturn

from promptengine.files.torch_numbers import DTYPES, STORAGES

__all__ = [
    "MOST_PICKLE_BYTES",
    "PickleCheck",
    "PickleDamage",
    "PickleRefusal",
    "check_protocol",
    "follow_legacy",
]

MOST_PICKLE_BYTES: Final = 16 << 20
"""Of the program alone, without numbers. That of the largest checkpoints takes some hundred KB."""

_TORCH_PROTOCOL: Final = 2  # what torch.save writes unless told otherwise
_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION: Final = 1001
_LEAST_WORK: Final = 60_000
_BYTES_A_STEP: Final = 30
_CALL_STEPS: Final = 20
"""What a call costs beside its opcode, in opcodes; torch searches its whole list for each."""

_LEAST_WEIGHT: Final = 16 << 20
_DEEPEST: Final = 64
_MOST_WAITING: Final = 10_000
"""Values that no container has taken up yet; those who write pickles have them taken up by the thousand."""

_WIDEST_NUMBER: Final = 80
_LONGEST_BYTES: Final = 4096
_LONGEST_NAME: Final = 200
"""Characters of a name in a message."""

_MOST_SHARING: Final = 4
"""How many times over tensors may use the numbers of a file, as tied weights do."""

_SAFER_COPY: Final = "If the weights are wanted, get a copy in the safetensors format"

_Scalar = Literal["text", "bytes", "number", "constant", "global", "storage", "tensor"]
_Kind = _Scalar | Literal["tuple", "list", "dict", "ordered", "set", "object"]
_CONTAINERS: Final = frozenset({"list", "dict", "ordered", "set", "object"})
_KEYS: Final = frozenset({"text", "bytes", "number", "constant", "global"})
"""What a key may be: its hash takes no time, and cannot be made to equal that of many others."""


class PickleDamage(ValueError):
    """A pickle that ends early or that no writer can have written."""


class PickleRefusal(ValueError):
    """A pickle that asks for what files of weights do not need.

    Attributes:
        names: What it asks to run, such as ``posix.system``; empty where it asks for too much.
    """

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


class _Thing:
    """Stands for a value.

    ``value`` is a text's or number's value, a global's name, a tuple's items, a list's kinds of
    items, the first keys of a dictionary, a storage's bytes and bytes of one number. ``weight`` is
    what it takes to write it out, however often its parts are shared. ``placed``: another holds it.
    """

    __slots__ = ("depth", "kind", "placed", "value", "weight")

    def __init__(self, kind: _Kind, value: Any = None, weight: int = 8, depth: int = 0) -> None:
        self.kind: _Kind = kind
        self.value = value
        self.weight = weight
        self.depth = depth
        self.placed = False


@dataclass
class _Machine:
    """What torch's reader does at each opcode, done with stand-ins."""

    size: int
    inert: Collection[str]
    storages: Mapping[str, int] | None = None
    _names: dict[str, None] = field(default_factory=dict[str, None])
    _steps: int = 0
    _claimed: int = 0
    _stored: dict[str, int] = field(default_factory=dict[str, int])
    _place: int = 0
    _stack: list[_Thing] = field(default_factory=list[_Thing])
    _marks: list[list[_Thing]] = field(default_factory=list[list[_Thing]])
    _below: int = 0
    _memo: dict[int, _Thing] = field(default_factory=dict[int, _Thing])

    def run(self, pickled: BytesIO) -> None:
        limit = _LEAST_WORK + self.size // _BYTES_A_STEP
        handlers = _HANDLERS
        for opcode, argument, place in pickletools.genops(pickled):
            self._place = place or 0
            self._steps += 1
            if self._steps > limit:
                self.refuse(f"takes more than {limit} steps to build, too many for its size")
            handler = handlers.get(opcode.name)
            if handler is None:
                self.refuse(f"uses the opcode {opcode.name}, which no file of weights needs")
            handler(self, argument)
            if len(self._stack) + self._below > _MOST_WAITING:
                self.refuse(f"makes more than {_MOST_WAITING} values that nothing holds")

    def refuse(self, reason: str) -> NoReturn:
        raise PickleRefusal(
            f"it {reason} (byte {self._place} of its pickle); refused. {_SAFER_COPY}"
        )

    def above_mark(self) -> list[_Thing]:
        """Return what lies above the last mark, which goes."""
        items, self._stack = self._stack, self._marks.pop()
        self._below -= len(self._stack)
        return items

    def top(self) -> _Thing:
        """Return the container on top, which may still be filled."""
        holder = self._stack[-1]
        if holder.placed:
            self.refuse("changes a container that another one already holds")
        return holder

    def hold(self, holder: _Thing, items: Sequence[_Thing]) -> None:
        for item in items:
            if item is holder:
                self.refuse("puts a container into itself")
            item.placed = item.kind in _CONTAINERS
            holder.weight += item.weight + 1
            holder.depth = max(holder.depth, item.depth + 1)
        if holder.depth > _DEEPEST:
            self.refuse(f"nests containers more than {_DEEPEST} deep")
        if holder.weight > _LEAST_WEIGHT + self.size:
            self.refuse("repeats its texts and containers beyond measure")

    # Opcodes.

    def protocol(self, argument: int) -> None:
        if argument != _TORCH_PROTOCOL:
            self.refuse(f"is of protocol {argument}")

    def mark(self, _argument: object) -> None:
        self._marks.append(self._stack)
        self._below += len(self._stack)
        if len(self._marks) > 2 * _DEEPEST:
            self.refuse(f"nests containers more than {_DEEPEST} deep")
        self._stack = []

    def number(self, argument: Any) -> None:
        if isinstance(argument, int) and argument.bit_length() > _WIDEST_NUMBER:
            self.refuse(f"holds a whole number of {argument.bit_length()} bits")
        self._stack.append(_Thing("number", argument))

    def constant(self, _argument: object) -> None:
        self._stack.append(_Thing("constant"))

    def text(self, argument: str) -> None:
        self._stack.append(_Thing("text", argument, 2 + len(argument)))

    def octets(self, argument: str) -> None:
        self._stack.append(_Thing("bytes", argument, 2 + len(argument)))

    def recall(self, argument: int) -> None:
        self._stack.append(self._memo[argument])

    def remember(self, argument: int) -> None:
        self._memo[argument] = self._stack[-1]

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in _CALLS and full not in _VALUES and full not in self.inert:
            self._names[full] = None
        self._stack.append(_Thing("global", full, 2 + len(full)))

    def empty(self, kind: _Kind) -> None:
        self._stack.append(_Thing(kind, set[str]()))

    def pack(self, items: Sequence[_Thing]) -> None:
        found = _Thing("tuple", tuple(items))
        self.hold(found, items)
        self._stack.append(found)

    def last(self, count: int) -> list[_Thing]:
        if len(self._stack) < count:
            raise LookupError("too few values")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def append(self, items: Sequence[_Thing]) -> None:
        holder = self.top()
        if holder.kind != "list":
            raise TypeError("no list")
        self.hold(holder, items)
        holder.value |= {item.kind for item in items}

    def fill(self, items: Sequence[_Thing]) -> None:
        holder = self.top()
        if holder.kind not in ("dict", "ordered") or len(items) % 2:
            raise TypeError("no dictionary")
        self.require_keys({item.kind for item in items[::2]})
        self.hold(holder, items)
        if holder.kind == "dict" and len(holder.value) <= len(_STATES):
            holder.value |= {str(item.value) for item in items[::2]}

    def require_keys(self, kinds: Collection[str]) -> None:
        if not _KEYS.issuperset(kinds):
            wrong = ", ".join(sorted(set(kinds) - _KEYS))
            self.refuse(f"uses a {wrong} as a key of a dictionary or set")

    def storage(self, _argument: object) -> None:
        """A persistent name is a storage's: its kind, key, place, numbers, and an old kind of view."""
        self._steps += _CALL_STEPS
        fields = self._stack.pop().value
        word, kind, key, place, count = fields[:5]
        views = fields[5:]
        width = STORAGES[kind.value]
        _require(
            word.value == "storage" and place.kind == "text" and key.kind in ("text", "number")
        )
        _require(count.kind == "number" and type(count.value) is int and count.value >= 0)
        name, held = str(key.value), count.value * width
        known = self._stored.setdefault(name, held)
        _require(known == held and len(views) <= 1)
        if self.storages is not None and self.storages.get(name) != held:
            found = self.storages.get(name, "none")
            message = f"a storage {name!r} of {held} bytes is asked for, and the file holds {found}"
            raise PickleDamage(message)
        if held > self.size or len(self._stored) > self.size:
            self.refuse(f"asks for {held} bytes of numbers, more than the file's {self.size}")
        self._stack.append(_Thing("storage", (held, width)))

    def reduce(self, _argument: object) -> None:
        self._steps += _CALL_STEPS
        function, arguments = self.last(2)
        _require(function.kind == "global" and arguments.kind == "tuple")
        call = _CALLS.get(function.value)
        # A name that is refused goes on as an inert thing, so that the others are found too.
        made = _Thing("object") if call is None else call(self, arguments.value)
        if made is None:
            self.refuse(f"calls {function.value!r} with what no file of weights needs")
        made.depth = max(made.depth, arguments.depth)
        self._stack.append(made)

    def construct(self, _argument: object) -> None:
        self._steps += _CALL_STEPS
        kind, arguments = self.last(2)
        _require(kind.kind == "global" and arguments.kind == "tuple")
        if kind.value in _CALLS or kind.value in _VALUES:
            self.refuse(f"builds a {kind.value!r} in a way that no file of weights does")
        self._stack.append(_Thing("object"))

    def build(self, _argument: object) -> None:
        self._steps += _CALL_STEPS
        state = self._stack.pop()
        holder = self.top()
        if holder.kind == "ordered":
            # Any other name could take the place of a method.
            if state.kind != "dict" or not _STATES.issuperset(state.value):
                self.refuse("gives a dictionary more than its metadata")
        elif holder.kind != "object":
            self.refuse(f"gives a state to a {holder.kind}")
        self.hold(holder, [state])

    # Calls: each returns the result, or None for arguments that are refused.

    def tensor(self, arguments: tuple[_Thing, ...], dtype: str | None = None) -> _Thing | None:
        storage, offset, sizes, strides = arguments[:4]
        if storage.kind != "storage" or not _are_counts((offset,)):
            return None
        if not _are_counts(sizes.value) or not _are_counts(strides.value):
            return None
        held, width = storage.value
        claimed = DTYPES[dtype] if dtype else width
        for size in sizes.value:
            claimed *= size.value
        self._claimed += claimed
        if claimed > held or self._claimed > _MOST_SHARING * self.size:
            raise PickleRefusal("its tensors claim more numbers than the file holds")
        return _Thing("tensor", None, 16)

    def typed_tensor(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        dtype = arguments[6].value
        return self.tensor(arguments, dtype) if dtype in DTYPES else None

    def parameter(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        return _Thing("tensor", None, 16) if arguments[0].kind == "tensor" else None

    def ordered(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        return None if arguments else _Thing("ordered")

    def counter(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        if any(argument.kind != "dict" for argument in arguments):
            return None
        return _Thing("dict", None, 8 + sum(argument.weight for argument in arguments))

    def new_set(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        (items,) = arguments
        if items.kind != "list":
            return None
        self.require_keys(items.value)
        return _Thing("set", None, items.weight)

    def shape(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        (sizes,) = arguments
        if not _are_counts(sizes.value):
            return None
        return _Thing("tuple", sizes.value, sizes.weight)

    def device(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        known = all(argument.kind in ("text", "number") for argument in arguments)
        return _Thing("constant") if known else None

    def encoded(self, arguments: tuple[_Thing, ...]) -> _Thing | None:
        """Bytes, which protocol 2 writes as a text and its encoding."""
        text, encoding = arguments
        if encoding.kind != "text" or text.kind not in ("text", "bytes"):
            return None
        if encoding.value not in ("latin1", "latin-1") or text.weight > _LONGEST_BYTES:
            self.refuse(f"encodes {text.weight - 2} characters as {encoding.value[:20]!r}")
        return _Thing("bytes", None, text.weight)


@dataclass
class PickleCheck(_Machine):
    """Follows the pickles of one file, one after the other, within one budget.

    Attributes:
        size: Bytes of the file.
        inert: Names of further classes that may be built, from anything: they keep nothing.
        storages: Bytes of the file's storages by key, or None where the file does not tell before
            the pickles say so themselves.
    """

    @property
    def stored(self) -> int:
        """Bytes of all storages that were asked for."""
        return sum(self._stored.values())

    def follow(self, pickled: BytesIO) -> object:
        """Follow one pickle to its end, where the stream is left.

        Returns:
            The number or text that it stands for; None for anything else.

        Raises:
            PickleRefusal: It asks for what files of weights do not need, or for too much of it.
            PickleDamage: It is damaged.
        """
        self._stack, self._marks, self._memo, self._below = [], [], {}, 0
        start = pickled.tell()
        try:
            self.run(pickled)
            result = self._stack.pop()
        except PickleRefusal:
            if not self._names:
                raise
        except (ValueError, LookupError, TypeError, AttributeError, struct.error) as failure:
            # Whatever is wrong with the rest, what it asks to run is the news.
            if not self._names:
                place = self._place - start
                raise PickleDamage(f"its pickle is damaged at byte {place}") from failure
        else:
            if not self._names:
                return result.value if result.kind in ("text", "number") else None
        raise _refused_names(list(self._names))


def check_protocol(program: bytes) -> None:
    """Raise ValueError for a pickle of a protocol that torch's safe reader does not know."""
    if len(program) > 1 and program[0] == 0x80 and program[1] != _TORCH_PROTOCOL:
        raise ValueError(
            f"pickle protocol {program[1]}, of which PyTorch's safe reader knows only 2; "
            "save it again with torch.save and no pickle_protocol"
        )


def follow_legacy(start: bytes, check: PickleCheck) -> None:
    """Follow what ``torch.save`` wrote before it wrote zips.

    These are five pickles: a magic number, a version, facts about the writer's machine, the object,
    and the keys of the storages, whose numbers follow.

    Args:
        start: The file's first bytes, :data:`MOST_PICKLE_BYTES` of them where it has so many.
        check: Its budget.

    Raises:
        PickleRefusal: As from :meth:`PickleCheck.follow`.
        PickleDamage: Likewise.
        ValueError: Another program wrote it.
    """
    check_protocol(start)
    pickled = BytesIO(start)
    if check.follow(pickled) != _MAGIC:
        raise ValueError("a bare pickle, which torch.save did not write; refused")
    if check.follow(pickled) != _LEGACY_VERSION:
        raise PickleDamage("of another version")
    for _ in range(3):
        check.follow(pickled)
    if check.stored > check.size - pickled.tell():
        raise PickleDamage("its storages are longer than the file")


def _require(holds: bool) -> None:
    if not holds:
        raise TypeError("another kind of value")


def _are_counts(things: Sequence[_Thing]) -> bool:
    return all(
        thing.kind == "number" and type(thing.value) is int and thing.value >= 0 for thing in things
    )


def _refused_names(names: Sequence[str]) -> PickleRefusal:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    first = repr(names[0])
    first = first if len(first) <= _LONGEST_NAME else f"{first[:_LONGEST_NAME]}…"
    return PickleRefusal(f"it asks to run {first}{more}; refused. {_SAFER_COPY}", names)


_Handler = Callable[[_Machine, Any], None]

# What torch's reader knows, save what no writer of weights uses.
_HANDLERS: Final[Mapping[str, _Handler]] = {
    "STOP": lambda _check, _: None,
    "PROTO": _Machine.protocol,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Machine.number),
    **dict.fromkeys(("NONE", "NEWTRUE", "NEWFALSE"), _Machine.constant),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.recall),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.remember),
    "BINUNICODE": _Machine.text,
    "SHORT_BINSTRING": _Machine.octets,
    "GLOBAL": _Machine.name,
    "MARK": _Machine.mark,
    "EMPTY_DICT": lambda check, _: check.empty("dict"),
    "EMPTY_LIST": lambda check, _: check.empty("list"),
    "EMPTY_SET": lambda check, _: check.empty("set"),
    "EMPTY_TUPLE": lambda check, _: check.pack(()),
    "TUPLE": lambda check, _: check.pack(check.above_mark()),
    "TUPLE1": lambda check, _: check.pack(check.last(1)),
    "TUPLE2": lambda check, _: check.pack(check.last(2)),
    "TUPLE3": lambda check, _: check.pack(check.last(3)),
    "APPEND": lambda check, _: check.append(check.last(1)),
    "APPENDS": lambda check, _: check.append(check.above_mark()),
    "SETITEM": lambda check, _: check.fill(check.last(2)),
    "SETITEMS": lambda check, _: check.fill(check.above_mark()),
    "BINPERSID": _Machine.storage,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.construct,
    "BUILD": _Machine.build,
}

_CALLS: Final[Mapping[str, Callable[[_Machine, tuple[_Thing, ...]], _Thing | None]]] = {
    "torch._utils._rebuild_tensor": _Machine.tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_tensor_v3": _Machine.typed_tensor,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "torch.Size": _Machine.shape,
    "torch.device": _Machine.device,
    "collections.OrderedDict": _Machine.ordered,
    "collections.Counter": _Machine.counter,
    "builtins.set": _Machine.new_set,
    "_codecs.encode": _Machine.encoded,
}

_VALUES: Final = frozenset({*STORAGES, *DTYPES})
_STATES: Final = frozenset({"_metadata"})
