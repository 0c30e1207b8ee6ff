"""Running a module of this package in a process of its own, whether the package is installed or only copied."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])


def command(module: str, *arguments: str) -> list[str]:
    """The command line of `python -m hrfamily_deploy.<module>`."""
    return [sys.executable, "-m", f"hrfamily_deploy.{module}", *arguments]


def environment() -> dict[str, str]:
    """This process's environment, in which such a command finds this package."""
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, *([others] if others else [])])}
