"""The import hook: whoever imports paddleseg gets this package's components and `python -m paddleseg.train`.

PaddleSeg has no plug-in mechanism, so a `.pth` line (from Python 3.15 a `.start` file) runs `install()` at every
interpreter start. It costs a fraction of a millisecond: nothing is imported until paddle or paddleseg is.
`PADDLE_HRFAMILY_DISABLE=1` turns it off; `python -m paddle_hrfamily train …` works without it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module costs more than everything else here
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

MODULES = os.path.join(os.path.dirname(__file__), "paddleseg_modules")


def install() -> None:
    """Put the finder first on `sys.meta_path`, once."""
    if os.environ.get("PADDLE_HRFAMILY_DISABLE") != "1" and not is_installed():
        sys.meta_path.insert(0, Finder())


def is_installed() -> bool:
    """Whether imports of paddleseg in this process pass through the hook."""
    return any(isinstance(finder, Finder) for finder in sys.meta_path)


class Finder:
    """Finds no module of its own: it prepares for paddle, and adds to paddleseg once that has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "paddle":
            _guarded(_before_paddle)
        elif name == "paddleseg":
            spec = self._ask_the_others(name, path, target)
            if spec is not None:
                _guarded(_add_to, spec)
            return spec
        return None

    def _ask_the_others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec and finder is not self else None
            if spec is not None:
                return spec
        return None


def _before_paddle() -> None:
    from paddle_hrfamily import system

    system.before_paddle()


def _add_to(spec: ModuleSpec) -> None:
    """Have the loader of paddleseg's spec call `_plug_in` when it has executed the package."""
    if spec.origin is None:
        places = ", ".join(spec.submodule_search_locations or ())
        raise ImportError(
            f"{places} has no __init__.py, so these are leftovers of another paddleseg: delete the folder, then "
            "pip install --force-reinstall --no-deps paddleseg==2.8.0"
        )
    loader: Any = spec.loader
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        _guarded(_prepare)
        execute(module)
        _guarded(_plug_in, module)

    # On this one object, and until it is called: later the loader is what it was before.
    loader.exec_module = exec_module


def _prepare() -> None:
    from paddle_hrfamily import system

    system.prepare()


def _plug_in(paddleseg: ModuleType) -> None:
    if MODULES not in paddleseg.__path__:
        paddleseg.__path__.append(MODULES)  # last: a train.py of PaddleSeg's own would win
    from paddle_hrfamily.integration import plugins, registration

    registration.register()
    plugins.load()


def _guarded(step: Callable[..., None], *arguments: object) -> None:
    """Run a step whose failure is a warning: PaddleSeg and the interpreter must go on without the plug-in."""
    try:
        step(*arguments)
    except Exception as error:
        import warnings

        warnings.warn(
            f"paddle_hrfamily is not plugged into PaddleSeg ({type(error).__name__}: {error}). "
            "`python -m paddle_hrfamily train …` does without the plug-in, `hrfamily doctor` looks for the cause, "
            "PADDLE_HRFAMILY_DISABLE=1 turns this off.",
            RuntimeWarning,
            stacklevel=2,
        )
