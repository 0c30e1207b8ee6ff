"""The built package in fresh environments: hooked after an install, with -e too, and gone without a trace after."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.environments import Environment, build_wheel, copy_of_checkout
from tests.fakes import ROOT, write_fakes

# What the packages in site-packages are is beside the point here: whether the hook reaches the registry is not.
REGISTRY = {"registration.py": "def register():\n    print('registered')\n", "plugins.py": "def load():\n    pass\n"}
IMPORT = "import paddleseg"
MODULES = "import sys; print(*sys.modules)"


def say_when_registered(home: Path) -> None:
    """Replace the registry of the package in that folder by one that only says that it was called."""
    for name, text in REGISTRY.items():
        (home / "paddle_hrfamily" / "integration" / name).write_text(text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(copy_of_checkout(tmp_path_factory.mktemp("checkout")), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout to install with -e."""
    folder = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    say_when_registered(folder)
    return folder


def with_fakes(folder: Path) -> Environment:
    """An environment with stand-ins for paddle and paddleseg."""
    environment = Environment(folder)
    write_fakes(environment.site)
    return environment


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = with_fakes(tmp_path_factory.mktemp(request.param) / "venv")
    if request.param == "wheel":
        environment.pip("install", "--no-deps", request.getfixturevalue("wheel"))
        say_when_registered(environment.site)
    else:
        environment.pip("install", "--no-deps", "-e", request.getfixturevalue("source"))
    return environment


def test_the_wheel_holds_the_package_its_configs_and_the_starters(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "paddle_hrfamily.pth",
        "paddle_hrfamily.start",
        "paddle_hrfamily/integration/paddleseg_modules/train.py",
    } <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "hrfamily_deploy",
        "paddle_hrfamily",
        "paddle_hrfamily.pth",
        "paddle_hrfamily.start",
    }
    configs = {str(file.relative_to(ROOT)) for file in (ROOT / "configs").rglob("*.yml")}
    assert {f"paddle_hrfamily/{name}" for name in configs} <= names


def test_the_starters_say_the_same() -> None:
    """PEP 829 has the line of a .pth file as MODULE:FUNCTION; both must name what exists."""
    folder = ROOT / "paddle_hrfamily" / "integration"
    module, _, function = (folder / "paddle_hrfamily.start").read_text().strip().partition(":")
    line = (folder / "paddle_hrfamily.pth").read_text()
    assert line.count("\n") == 1  # site executes line by line
    assert f'__import__("{module}", fromlist=["{function}"]).{function}()' in line
    assert callable(getattr(__import__(module, fromlist=[function]), function))


@pytest.mark.parametrize("isolated", [(), ("-I",), ("-E", "-s")])
def test_hooked_from_any_directory(installed: Environment, isolated: tuple[str, ...]) -> None:
    assert installed.run(*isolated, "-c", IMPORT).strip() == "registered"


def test_both_packages_are_there(installed: Environment) -> None:
    code = "import hrfamily_deploy, paddle_hrfamily; print(hrfamily_deploy.__name__, paddle_hrfamily.__name__)"
    assert installed.run("-I", "-c", code).split() == ["hrfamily_deploy", "paddle_hrfamily"]


def test_a_start_imports_the_hook_and_nothing_else(installed: Environment) -> None:
    """The finder that setuptools would write for two source folders imports pathlib and more: 20 ms at every start."""
    disabled = set(installed.run("-c", MODULES, PADDLE_HRFAMILY_DISABLE="1").split())
    hooked = set(installed.run("-c", MODULES).split())
    package = "paddle_hrfamily"
    assert hooked - disabled == {"__future__", package, f"{package}.integration", f"{package}.integration.hook"}
    assert not {"pathlib", "importlib.util"} & hooked
    assert not list(installed.site.glob("__editable___*"))


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
    environment = with_fakes(tmp_path / "venv")
    environment.pip("install", "--no-deps", wheel)
    (environment.site / "paddle_hrfamily" / "integration" / "hook.py").write_text("raise RuntimeError('broken')")
    assert environment.run("-c", "print('alive')").splitlines()[-1] == "alive"
    assert environment.run("-c", "print('alive')", PADDLE_HRFAMILY_DISABLE="1") == "alive\n"


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_uninstall_leaves_nothing(kind: str, wheel: Path, source: Path, tmp_path: Path) -> None:
    environment = with_fakes(tmp_path / "venv")
    before = environment.files()
    environment.pip("install", "--no-deps", *((wheel,) if kind == "wheel" else ("-e", source)))
    assert environment.files() > before
    environment.pip("uninstall", "-y", "paddle_hrfamily")
    assert environment.files() == before
    assert environment.run("-c", IMPORT) == ""
