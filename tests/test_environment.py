"""Threads and CPU settings that Paddle is given, what the user has set being kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hrfamily_deploy import cpu
from paddle_hrfamily import system
from paddle_hrfamily.errors import UserError
from tests.fakes import ROOT, run, write_fakes

pytestmark = pytest.mark.line

PREPARE = """
import json, os
from pathlib import Path
from hrfamily_deploy import cpu
from paddle_hrfamily import system
cpu.read = lambda: cpu.Cpu(8, vendor="AuthenticAMD")
{before}
system.prepare()
from paddle.base import core
print(json.dumps([core.threads, os.environ["OMP_NUM_THREADS"], os.environ["MKL_DEBUG_CPU_TYPE"]]))
"""
# What paddle itself does to the environment when it is imported; it would print a warning above 1.
FAKE_PADDLE = """
import os
assert int(os.environ.get("OMP_NUM_THREADS", "1")) == {expected}
os.environ["OMP_NUM_THREADS"] = "{expected}"
"""


def prepared(tmp_path: Path, before: str = "", found_by_paddle: int = 1, **variables: str) -> list[object]:
    site = write_fakes(tmp_path)
    (site / "paddle" / "__init__.py").write_text(FAKE_PADDLE.format(expected=found_by_paddle))
    path = os.pathsep.join(map(str, (site, ROOT)))
    return json.loads(run("-c", PREPARE.format(before=before), PYTHONPATH=path, **variables))


def test_every_core_computes(tmp_path: Path) -> None:
    assert prepared(tmp_path) == [8, "8", "5"]


def test_twice_is_as_once(tmp_path: Path) -> None:
    assert prepared(tmp_path, before="system.prepare()") == [8, "8", "5"]


def test_what_the_user_set_is_kept(tmp_path: Path) -> None:
    assert prepared(tmp_path, found_by_paddle=3, OMP_NUM_THREADS="3", MKL_DEBUG_CPU_TYPE="4") == [None, "3", "4"]


def test_the_user_may_choose_one_thread(tmp_path: Path) -> None:
    assert prepared(tmp_path, OMP_NUM_THREADS="1") == [None, "1", "5"]


def test_paddle_imported_before_is_no_obstacle(tmp_path: Path) -> None:
    hooked = "from paddle_hrfamily.integration import hook; hook.install(); import paddle"
    assert prepared(tmp_path, before=hooked) == [8, "8", "5"]


@pytest.mark.parametrize(("count", "share"), [("2", 4), ("3", 2), ("16", 1)])
def test_processes_of_one_machine_share_its_cores(tmp_path: Path, count: str, share: int) -> None:
    """paddle.distributed.launch has imported paddle, which wrote a 1 that is no choice of the user's."""
    inherited = {"OMP_NUM_THREADS": "1", system.AUTOMATIC: "1"}
    assert prepared(tmp_path, PADDLE_LOCAL_SIZE=count, **inherited)[:2] == [share, str(share)]


def test_a_child_process_is_prepared_like_its_parent(tmp_path: Path) -> None:
    inherited = {"OMP_NUM_THREADS": "8", system.AUTOMATIC: "8", "MKL_DEBUG_CPU_TYPE": "5"}
    assert prepared(tmp_path, **inherited) == [8, "8", "5"]


def test_missing_paddle_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"paddle_hrfamily\[cpu\].*paddle_hrfamily\[gpu\]"):
        system.require_paddle()


def test_the_installed_paddle_computes_on_the_threads_it_was_given() -> None:
    """Against the real thing: no warning on import, and the variable holds for child processes."""
    pytest.importorskip("paddle")
    code = "import os; from paddle_hrfamily import system; system.prepare()\n"
    code += "print(os.environ['OMP_NUM_THREADS'])"
    said = run("-c", code, PYTHONPATH=str(ROOT))
    assert "OMP_NUM_THREADS" not in said
    assert int(said.splitlines()[-1]) == cpu.read().cores
