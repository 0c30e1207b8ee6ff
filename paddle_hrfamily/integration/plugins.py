"""Plug-ins: modules of others that register components when they are imported.

There are two ways to have one imported. An installed package declares an entry point of the group
`paddle_hrfamily.plugins` whose value is the module. And `--plugin` names a Python file or a module on the command line.
A config cannot name one, because a config from elsewhere should not be able to run code.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from paddle_hrfamily import registry, zoo
from paddle_hrfamily.errors import UserError

GROUP = "paddle_hrfamily.plugins"

_WANTED = "name a Python file (*.py), or a module that can be imported"

_loaded: set[str] = set()


def load(names: Iterable[str] = ()) -> None:
    """Import all installed plug-ins, then the named ones. Each is imported once in a process.

    Args:
        names: Python files, or modules that can be imported.

    Raises:
        UserError: a file or module is missing or fails, or registers a name that is taken; nothing of it is kept.
    """
    for entry in _installed():
        _import_once(f"entry point {entry.name} = {entry.value}", entry.load)
    for name in names:
        if name.endswith(".py") or Path(name).is_file():
            file = Path(name).expanduser().resolve()
            _import_once(str(file), functools.partial(_run, file))
        else:
            _import_once(name, functools.partial(_import, name))


@functools.cache
def _installed() -> tuple[metadata.EntryPoint, ...]:
    """Looked for once in a process: every installed distribution has to be opened for it."""
    found = metadata.entry_points()
    return tuple(found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, ()))  # 3.9 has a dict


def _import_once(plugin: str, run: Callable[[], object]) -> None:
    if plugin in _loaded:
        return
    _loaded.add(plugin)  # before it runs: what it imports may come back here
    restore = registry.snapshot()
    try:
        run()
        zoo.entries()  # looks for names of the zoo that are taken
    except Exception as error:
        _loaded.discard(plugin)
        restore()
        raise UserError(f"plug-in {plugin}: {_reason(error)}") from error


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"there is no such module; {_WANTED}") from error
        raise


def _run(file: Path) -> None:
    """Import a file under a name of its own, whatever other modules are called."""
    if not file.is_file():
        raise UserError(f"there is no such file; {_WANTED}")
    name = f"hrfamily_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"this is no Python file; {_WANTED}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _reason(error: Exception) -> str:
    """The error in one line, with the place where a defect is."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})".replace("\n", " ")
