"""How this package changes functions of PaddleSeg and Paddle in this process; what it changes is `repairs.TABLE`.

`wrap` puts a function around another, once. `Overlay` is a namespace with some names of our own in front of another.
`patched` sets such names in a module or class for the length of a `with`. `accepted` keeps a call within what the
installed version takes.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any


class Overlay:
    """The given names, and every other one from `base`: Overlay(paddle, save=ours).load is paddle.load."""

    def __init__(self, base: object, **names: object) -> None:
        self.__dict__.update(names)
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


@contextlib.contextmanager
def patched(owner: object, **names: object) -> Iterator[None]:
    """Within the `with`, a module's functions find `names` among their globals, or a class or object has them.

    Afterwards all is as it was.
    """
    missing = object()
    before = {name: vars(owner).get(name, missing) for name in names}
    for name, value in names.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def wrap(owner: object, name: str, wrapper: Callable[[Callable], Callable]) -> None:
    """Set owner.name to wrapper(owner.name), unless it is wrapped by `wrapper` already."""
    function = getattr(owner, name)
    mark = f"{wrapper.__module__}.{wrapper.__qualname__}"
    marks = getattr(function, "wrapped_by", ())
    if mark not in marks:
        wrapped: Any = functools.wraps(function)(wrapper(function))  # with __wrapped__: the signature stays
        wrapped.wrapped_by = (*marks, mark)
        setattr(owner, name, wrapped)


def wrap_core(module: str, name: str, wrapper: Callable[[Callable], Callable]) -> None:
    """`wrap` a function of paddleseg.core's module, and have the package hand out the new one."""
    import paddleseg.core

    wrap(core_module(module), name, wrapper)
    vars(paddleseg.core)[name] = vars(core_module(module))[name]


def core_module(name: str) -> ModuleType:
    """The module paddleseg.core.train or .val: the package's attribute `train` is the function, not the module."""
    import paddleseg.core  # noqa: F401

    return sys.modules[f"paddleseg.core.{name}"]


def accepted(function: Callable, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that `function` has; PaddleSeg's versions differ in them."""
    return {name: value for name, value in arguments.items() if name in inspect.signature(function).parameters}
