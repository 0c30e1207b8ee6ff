"""The built package in fresh environments: hooked after an install, with -e too, and gone without a trace after."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.fakes import ROOT, run, write_fakes

# What the packages in site-packages are is beside the point here: whether the hook reaches the registry is not.
REGISTRY = "def register():\n    print('registered')\n"
SOURCES = ("setup.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md")
IMPORT = "import paddleseg"


def pip(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    if "Could not find a version that satisfies the requirement setuptools" in done.stderr:
        pytest.skip("building needs setuptools from a package index, and none can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing in it. Its registry only says that it was called."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    for name in ("paddle_hrfamily", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "paddle_hrfamily" / "host" / "registry.py").write_text(REGISTRY)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    said = pip("wheel", "--no-deps", "-w", folder, source)
    assert "Deprecat" not in said
    return next(folder.glob("*.whl"))


class Environment:
    """A virtual environment without pip, holding stand-ins for paddle and paddleseg."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/*/site-packages"))
        self.elsewhere = folder  # any directory but the checkout
        write_fakes(self.site)
        # The other dependencies are those of the tests' own environment, behind everything installed here; but not this
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
        return run(*arguments, python=self.python, cwd=self.elsewhere, **environment)

    def files(self) -> set[Path]:
        return {file for file in self.elsewhere.rglob("*") if "__pycache__" not in file.parts}


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp(request.param) / "venv")
    if request.param == "wheel":
        environment.pip("install", "--no-deps", request.getfixturevalue("wheel"))
    else:
        environment.pip("install", "--no-deps", "-e", request.getfixturevalue("source"))
    return environment


def test_the_wheel_holds_the_package_its_configs_and_the_starters(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"paddle_hrfamily.pth", "paddle_hrfamily.start", "paddle_hrfamily/host/paddleseg_modules/train.py"} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "paddle_hrfamily",
        "paddle_hrfamily.pth",
        "paddle_hrfamily.start",
    }
    configs = {str(file.relative_to(ROOT)) for file in (ROOT / "configs").rglob("*.yml")}
    assert {f"paddle_hrfamily/{name}" for name in configs} <= names


def test_the_starters_say_the_same() -> None:
    """PEP 829 has the line of a .pth file as MODULE:FUNCTION; both must name what exists."""
    folder = ROOT / "paddle_hrfamily" / "host"
    module, _, function = (folder / "paddle_hrfamily.start").read_text().strip().partition(":")
    line = (folder / "paddle_hrfamily.pth").read_text()
    assert line.count("\n") == 1  # site executes line by line
    assert f'__import__("{module}", fromlist=["{function}"]).{function}()' in line
    assert callable(getattr(__import__(module, fromlist=[function]), function))


@pytest.mark.parametrize("isolated", [(), ("-I",), ("-E", "-s")])
def test_hooked_from_any_directory(installed: Environment, isolated: tuple[str, ...]) -> None:
    assert installed.run(*isolated, "-c", IMPORT).strip() == "registered"


def test_hooked_in_spawned_processes(installed: Environment) -> None:
    script = installed.elsewhere / "spawn.py"
    script.write_text(
        "import multiprocessing\n"
        "def work(): import paddleseg\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start(); process.join(); assert process.exitcode == 0\n"
    )
    said = installed.run(script)
    script.unlink()
    assert said.strip() == "registered"


def test_disabled(installed: Environment) -> None:
    assert installed.run("-c", IMPORT, PADDLE_HRFAMILY_DISABLE="1") == ""


@pytest.mark.parametrize("command", ["train", "val", "predict", "export"])
def test_python_m_paddleseg(installed: Environment, command: str) -> None:
    said = installed.run("-m", f"paddleseg.{command}", "--help")
    assert f"usage: python -m paddleseg.{command}" in said
    assert "--config" in said


def test_console_script(installed: Environment) -> None:
    command = installed.python.with_name("hrfamily")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, cwd=installed.elsewhere)
    assert done.returncode == 0
    assert "usage: hrfamily" in done.stdout


def test_a_hook_that_breaks_leaves_the_interpreter_running(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.pip("install", "--no-deps", wheel)
    (environment.site / "paddle_hrfamily" / "host" / "hook.py").write_text("raise RuntimeError('broken')")
    assert environment.run("-c", "print('alive')").splitlines()[-1] == "alive"
    assert environment.run("-c", "print('alive')", PADDLE_HRFAMILY_DISABLE="1") == "alive\n"


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_uninstall_leaves_nothing(kind: str, wheel: Path, source: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    before = environment.files()
    environment.pip("install", "--no-deps", *((wheel,) if kind == "wheel" else ("-e", source)))
    assert environment.files() > before
    environment.pip("uninstall", "-y", "paddle_hrfamily")
    assert environment.files() == before
    assert environment.run("-c", IMPORT) == ""
