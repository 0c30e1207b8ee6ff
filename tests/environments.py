"""Fresh virtual environments, and the package built and installed into them as pip does it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.fakes import ROOT, run

SOURCES = ("setup.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md")


def pip(*arguments: object) -> str:
    """What `pip ARGUMENTS` said. Fails the test if it fails, and skips it where setuptools cannot be had."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    if "Could not find a version that satisfies the requirement setuptools" in done.stderr:
        pytest.skip("building needs setuptools from a package index, and none can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def copy_of_checkout(folder: Path) -> Path:
    """What the package is built from, in another folder, so that building leaves nothing in the checkout."""
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    for name in ("paddle_hrfamily", "deploy", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def build_wheel(checkout: Path, folder: Path) -> Path:
    said = pip("wheel", "--no-deps", "-w", folder, checkout)
    assert "Deprecat" not in said
    return next(folder.glob("*.whl"))


class Environment:
    """A virtual environment without pip, in which all dependencies can be imported, and this package cannot.

    Attributes:
        python: its interpreter.
        site: its site-packages.
        elsewhere: a folder that is not the checkout, in which commands are run.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/*/site-packages"))
        self.elsewhere = folder
        # The dependencies are those of the tests' own environment, behind everything installed here; but not this
        # package itself, which may be installed there.
        dependencies = folder.parent / f"{folder.name}-dependencies"
        dependencies.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not entry.name.startswith("paddle_hrfamily"):
                (dependencies / entry.name).symlink_to(entry)
        (self.site / "dependencies.pth").write_text(str(dependencies))

    def pip(self, *arguments: object) -> str:
        return pip("--python", self.python, *arguments)

    def run(self, *arguments: object, **environment: str) -> str:
        """What the interpreter printed, run outside the checkout."""
        return run(*arguments, python=self.python, cwd=self.elsewhere, **environment)

    def files(self) -> set[Path]:
        return {file for file in self.elsewhere.rglob("*") if "__pycache__" not in file.parts}
