"""deploy/, which stands alone beside a checkout's package and is no part of it, brought in for a while."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from paddle_hrfamily.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[2] / "deploy"


class Deploy:
    """The modules of deploy/ as attributes: `deploy.predictor.Predictor`."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(name)


@contextmanager
def deploy(folder: Path | None = None) -> Iterator[Deploy]:
    """Its modules, which import each other as neighbours. Within the `with`, its UserError comes out as this package's.

    Args:
        folder: deploy/ itself; None for the one beside the package.

    Raises:
        UserError: it is not there.
    """
    folder = folder or CHECKOUT
    if not (folder / "predictor.py").is_file():
        raise UserError(
            f"{folder} is not the folder deploy/ of paddle_hrfamily's sources, which installing leaves out: get them, "
            f"and name it with --deploy"
        )
    sys.path.insert(0, str(folder))
    modules = Deploy()
    try:
        yield modules
    except modules.errors.UserError as error:
        raise UserError(str(error)) from None
    finally:
        sys.path.remove(str(folder))
