"""The import hook, in fresh interpreters and against stand-ins for paddle and paddleseg."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.fakes import ROOT, run, write_fakes

INSTALL = "from paddle_hrfamily.integration import hook; hook.install()\n"
# Nothing but the standard library and the stand-ins can be imported after this.
ALONE = """
import sys, importlib.machinery
sys.meta_path[1:] = [importlib.machinery.BuiltinImporter, importlib.machinery.PathFinder]
sys.path[:] = [folder for folder in sys.path if "site-packages" not in folder]
"""
REGISTRY = """
import sys, types
registry, plugins = (types.ModuleType(f"paddle_hrfamily.integration.{name}") for name in ("registration", "plugins"))
registry.calls = 0
def register():
    registry.calls += 1
registry.register = register
plugins.load = lambda: None
sys.modules.update({module.__name__: module for module in (registry, plugins)})
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_fakes(tmp_path / "site")


def python(site: Path, code: str, **environment: str) -> str:
    return run(
        "-c", code, cwd=site.parent, PYTHONPATH=os.pathsep.join(map(str, (site, ROOT, ROOT / "deploy"))), **environment
    )


def test_importing_paddleseg_registers_and_prepares(site: Path) -> None:
    code = "import paddleseg, paddle, os; print(registry.calls, paddle.found_zlib, os.environ['OMP_NUM_THREADS'])"
    calls, zlib_first, threads = python(site, REGISTRY + INSTALL + code).split()
    assert (calls, zlib_first) == ("1", "True")
    assert int(threads) >= 1


def test_registers_after_paddleseg_has_run(site: Path) -> None:
    code = "registry.register = lambda: print(sys.modules['paddleseg'].__version__)\nimport paddleseg"
    assert python(site, REGISTRY + INSTALL + code).strip() == "2.8.0"


def test_installed_plug_ins_are_loaded_after_registration(site: Path) -> None:
    code = "plugins.load = lambda: print('plug-ins after', registry.calls)\nimport paddleseg"
    assert python(site, REGISTRY + INSTALL + code).strip() == "plug-ins after 1"


def test_registers_when_only_a_submodule_is_asked_for(site: Path) -> None:
    (site / "paddleseg" / "core.py").write_text("")
    assert python(site, REGISTRY + INSTALL + "import paddleseg.core; print(registry.calls)").strip() == "1"


@pytest.mark.parametrize("module", ["train", "val", "predict", "export"])
def test_modules_are_found_in_paddleseg(site: Path, module: str) -> None:
    code = f"import importlib.util as u; print(u.find_spec('paddleseg.{module}').origin)"
    found = Path(python(site, REGISTRY + INSTALL + code).strip())
    assert found == ROOT / "paddle_hrfamily" / "integration" / "paddleseg_modules" / f"{module}.py"


def test_a_module_that_paddleseg_has_itself_wins(site: Path) -> None:
    (site / "paddleseg" / "train.py").write_text("print('upstream')")
    assert python(site, REGISTRY + INSTALL + "import paddleseg.train").strip() == "upstream"


def test_repeated_installs_and_reloads_change_nothing(site: Path) -> None:
    code = """
import importlib, paddleseg
hook.install()
importlib.reload(paddleseg)
print(sum(isinstance(f, hook.Finder) for f in sys.meta_path), paddleseg.__path__.count(hook.MODULES))
"""
    assert python(site, REGISTRY + INSTALL + code).split() == ["1", "1"]


def test_the_loader_is_left_as_it_was(site: Path) -> None:
    code = "import paddleseg; print(type(paddleseg.__loader__).__name__, vars(paddleseg.__spec__.loader).keys())"
    name, attributes = python(site, REGISTRY + INSTALL + code).split(maxsplit=1)
    assert name == "SourceFileLoader"
    assert "exec_module" not in attributes


def test_disabled(site: Path) -> None:
    code = "import importlib.util, paddleseg; print(registry.calls, importlib.util.find_spec('paddleseg.val'))"
    assert python(site, REGISTRY + INSTALL + code, PADDLE_HRFAMILY_DISABLE="1").split() == ["0", "None"]


def test_a_failing_registration_is_a_warning_that_says_what_to_do(site: Path) -> None:
    code = "registry.register = lambda: 1 / 0\nimport paddleseg; print('alive')"
    said = python(site, REGISTRY + INSTALL + code)
    assert "alive" in said
    assert "ZeroDivisionError" in said
    assert "python -m paddle_hrfamily train" in said


def test_an_error_of_paddlesegs_own_reaches_the_user(site: Path) -> None:
    (site / "paddleseg" / "__init__.py").write_text("raise ImportError('cv2 is broken')")
    code = "\ntry:\n    import paddleseg\nexcept ImportError as error:\n    print(error, registry.calls)"
    assert python(site, REGISTRY + INSTALL + code).strip() == "cv2 is broken 0"


def test_leftovers_without_init_are_reported_and_not_hooked(site: Path) -> None:
    (site / "paddleseg" / "__init__.py").unlink()
    code = "import paddleseg; print(registry.calls, paddleseg.__file__)"
    said = python(site, REGISTRY + INSTALL + ALONE + code)
    assert "leftovers" in said
    assert "--force-reinstall" in said
    assert said.splitlines()[-1] == "0 None"


def test_no_paddleseg_is_pythons_own_error(site: Path) -> None:
    shutil.rmtree(site / "paddleseg")
    code = "\ntry:\n    import paddleseg\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    assert python(site, INSTALL + ALONE + code).strip() == "paddleseg"


def test_importing_paddle_alone_sets_no_more_than_paddle_does(site: Path) -> None:
    code = (
        "import paddle, os; print(paddle.found_zlib, os.environ['OMP_NUM_THREADS'], 'MKL_DEBUG_CPU_TYPE' in os.environ)"
    )
    assert python(site, INSTALL + code).split() == ["True", "1", "False"]


def test_interpreter_start_imports_nothing_that_was_not_there() -> None:
    """What makes the start cheap: beside its own modules the hook adds none to those that every start has."""
    code = f"import os, site, sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n"
    added = run("-I", "-S", "-c", code + INSTALL + "print(*sorted(set(sys.modules) - before))").split()
    assert added == ["__future__", "paddle_hrfamily", "paddle_hrfamily.integration", "paddle_hrfamily.integration.hook"]
