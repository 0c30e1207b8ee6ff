"""What pyproject.toml cannot say: files that are installed from outside the package.

`configs/` becomes `paddle_hrfamily/configs`, and the two files that start the import hook go beside the package, at the
root of site-packages, in a wheel and in an editable install alike.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

# .start is what PEP 829 puts in the place of executable .pth lines (Python 3.15 reads it, 3.18 reads nothing else).
STARTERS = ("paddle_hrfamily/host/paddle_hrfamily.pth", "paddle_hrfamily/host/paddle_hrfamily.start")


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
    def _run_build_commands(self, dist_name: str, unpacked_wheel: str, *folders: str) -> object:
        # Setuptools has no public way to put a file of one's own into an editable wheel.
        built = super()._run_build_commands(dist_name, unpacked_wheel, *folders)
        copy_starters(unpacked_wheel)
        return built


# The licence is said here because pyproject.toml spells it differently for setuptools before and after 77.
setup(license="Apache-2.0", license_files=["LICENSE"], cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel})
