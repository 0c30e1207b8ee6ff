"""What pyproject.toml cannot say: files that are installed from outside the package.

`configs/` becomes `paddle_hrfamily/configs`, and the two files that start the import hook go beside the package, at the
root of site-packages, in a wheel and in an editable install alike.

An editable install is two lines in a .pth file. For two source folders setuptools itself writes a finder instead, which
imports pathlib and importlib.util at every interpreter start: some 20 ms, before a line of the user's has run.
"""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Optional

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

# .start is what PEP 829 puts in the place of executable .pth lines (Python 3.15 reads it, 3.18 reads nothing else).
STARTERS = ("paddle_hrfamily/integration/paddle_hrfamily.pth", "paddle_hrfamily/integration/paddle_hrfamily.start")
SOURCES = (".", "deploy")  # the folders that hold paddle_hrfamily and hrfamily_deploy


def copy_starters(folder: str) -> None:
    for starter in STARTERS:
        shutil.copy(starter, folder)


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout's own configs/ are read, and EditableWheel brings the starters
            return
        configs = Path(self.build_lib, "paddle_hrfamily", "configs")
        shutil.rmtree(configs, ignore_errors=True)  # an earlier build may have left configs that are gone since
        shutil.copytree("configs", configs)
        copy_starters(self.build_lib)

    def get_source_files(self) -> list:
        """What a source distribution needs to be built from."""
        configs = (str(file) for file in Path("configs").rglob("*") if file.is_file())
        return [*super().get_source_files(), *configs, *STARTERS, "requirements.txt"]


class EditableWheel(editable_wheel):
    """Setuptools has no public way to put one's own files into an editable wheel, or to choose how it finds modules.

    Both methods are there from setuptools 64 on. Should a later one no longer call `_select_strategy`, its own finder
    takes over, and the packages are found all the same.
    """

    def _run_build_commands(self, dist_name: str, unpacked_wheel: str, *folders: str) -> object:
        built = super()._run_build_commands(dist_name, unpacked_wheel, *folders)
        copy_starters(unpacked_wheel)
        return built

    def _select_strategy(self, name: str, *_: object) -> "SourceFolders":
        return SourceFolders(name)


class SourceFolders:
    """One of setuptools' strategies: a context manager that is called with the wheel to write to."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> "SourceFolders":
        return self

    def __exit__(
        self, kind: Optional[type], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        """Nothing is left to tidy up."""

    def __call__(self, wheel: object, files: object, mapping: object) -> None:
        folders = "".join(f"{Path(folder).resolve()}\n" for folder in SOURCES).encode()
        wheel.writestr(f"__editable__.{self.name}.pth", folders)


# The licence is said here because pyproject.toml spells it differently for setuptools before and after 77.
setup(license="Apache-2.0", license_files=["LICENSE"], cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel})
