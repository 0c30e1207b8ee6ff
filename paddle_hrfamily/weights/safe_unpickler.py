"""A pickle interpreter that can import nothing and call nothing, so that a checkpoint cannot run anything.

Python's own unpickler imports whatever a file names and calls it. This one keeps a global as an inert name and looks it
up in a table of the few constructors that tensors need; a name outside the table ends the reading with that name. It
knows only the instructions that weights files consist of, each of which builds plain containers and numbers.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any


class Refused(Exception):
    """The pickle asks for something that no weights file needs. The message says what, without the file's name."""


class Buildable:
    """Something that the pickle fills in after making it, as numpy's arrays are."""

    def build(self, state: Any) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Constructor:
    """A global that the pickle named and that is allowed: an inert name, called by this unpickler alone."""

    name: str
    make: Callable[..., Any]


Constructors = Mapping[str, Callable[..., Any]]  # "module name" -> what stands in for it
PersistentLoad = Callable[[Any], Any]

_MARK = object()
_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_IGNORED = frozenset({"PROTO", "FRAME"})


def load(stream: IO[bytes], constructors: Constructors, persistent_load: PersistentLoad | None = None) -> Any:
    """Read one pickle from `stream`, which is left behind its end.

    Raises Refused for a global or an instruction that is not allowed, and whatever Python raises for a damaged pickle.
    """
    return _Unpickler(constructors, persistent_load).run(stream)


class _Unpickler:
    def __init__(self, constructors: Constructors, persistent_load: PersistentLoad | None) -> None:
        self.constructors = constructors
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name == "STOP":
                return self.pop()
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name not in _IGNORED:
                self.instruction(name)(argument)
        raise EOFError("pickle without an end")

    def instruction(self, name: str) -> Callable[[Any], None]:
        method = getattr(self, f"op_{name}", None)
        if method is None:
            raise Refused(f"it holds the pickle instruction {name}, which no weights file needs")
        return method

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("pickle stack underflow")
        return value

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    # Names and what is made from them

    def op_GLOBAL(self, argument: str) -> None:
        self.push_name(argument)

    def op_INST(self, argument: str) -> None:
        self.push_name(argument)
        raise Refused("it holds the pickle instruction INST, which no weights file needs")

    def op_STACK_GLOBAL(self, _: None) -> None:
        name, module = self.pop(), self.pop()
        self.push_name(f"{module} {name}")

    def push_name(self, name: str) -> None:
        if name not in self.constructors:
            raise Refused(f"it tries to import {name.replace(' ', '.')}")
        self.stack.append(Constructor(name, self.constructors[name]))

    def op_REDUCE(self, _: None) -> None:
        arguments, constructor = self.pop(), self.pop()
        if not isinstance(constructor, Constructor) or not isinstance(arguments, tuple):
            raise Refused(f"it tries to call a {type(constructor).__name__}")
        self.stack.append(constructor.make(*arguments))

    def op_BUILD(self, _: None) -> None:
        state, target = self.pop(), self.pop()
        if isinstance(target, Buildable):
            target.build(state)
        elif not isinstance(target, OrderedDict):  # whose state is PyTorch's `_metadata`: module versions, not needed
            raise Refused(f"it tries to set the state of a {type(target).__name__}")
        self.stack.append(target)

    def op_BINPERSID(self, _: None) -> None:
        if self.persistent_load is None:
            raise Refused("it refers to tensors outside the pickle")
        self.stack.append(self.persistent_load(self.pop()))

    # Containers

    def op_APPEND(self, _: None) -> None:
        value = self.pop()
        self.container(list).append(value)

    def op_APPENDS(self, _: None) -> None:
        values = self.pop_to_mark()
        self.container(list).extend(values)

    def op_SETITEM(self, _: None) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def op_SETITEMS(self, _: None) -> None:
        self.set_items(self.pop_to_mark())

    def op_DICT(self, _: None) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self.set_items(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.container(dict)
        for key, value in zip(items[0::2], items[1::2]):
            if not isinstance(key, (str, int, bytes)):
                raise Refused(f"it has a dictionary key of type {type(key).__name__}")
            target[key] = value

    def container(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"pickle fills a {type(self.stack[-1]).__name__} like a {kind.__name__}")
        return self.stack[-1]

    def op_LIST(self, _: None) -> None:
        self.stack.append(self.pop_to_mark())

    def op_TUPLE(self, _: None) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def op_TUPLE1(self, _: None) -> None:
        self.stack.append((self.pop(),))

    def op_TUPLE2(self, _: None) -> None:
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def op_TUPLE3(self, _: None) -> None:
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    # The stack and the memo

    def op_POP(self, _: None) -> None:
        self.stack.pop()

    def op_POP_MARK(self, _: None) -> None:
        self.pop_to_mark()

    def op_DUP(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def op_PUT(self, argument: int) -> None:
        self.memo[argument] = self.stack[-1]

    op_BINPUT = op_LONG_BINPUT = op_PUT

    def op_MEMOIZE(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_GET(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    op_BINGET = op_LONG_BINGET = op_GET
