"""Threads and processor settings, on the descriptions of several machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.host import environment
from tests.fakes import ROOT, run, write_fakes


def cpuinfo(cores: list[tuple[int, int]], vendor: str = "GenuineIntel") -> str:
    """/proc/cpuinfo of logical processors on the given (socket, core)."""
    blocks = (
        f"processor\t: {n}\nvendor_id\t: {vendor}\nmodel name\t: Some CPU @ 2.0GHz: new\n"
        f"physical id\t: {socket}\ncore id\t\t: {core}\npower management:\n"
        for n, (socket, core) in enumerate(cores)
    )
    return "\n".join(blocks)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretend to be on a machine with this /proc/cpuinfo, affinity and cgroup limit."""

    def pretend(info: str, affinity: set[int], limit: str | None = None) -> None:
        monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(environment, "CGROUP", tmp_path / "cpu.max")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: affinity, raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 64)
        (tmp_path / "cpuinfo").write_text(info)
        if limit is not None:
            (tmp_path / "cpu.max").write_text(limit)

    return pretend


HYPERTHREADED = [(0, 0), (0, 1), (0, 0), (0, 1)]
TWO_SOCKETS = [(0, 0), (0, 1), (1, 0), (1, 1)]
ARM = "processor\t: 0\nBogoMIPS\t: 50\n\nprocessor\t: 1\nBogoMIPS\t: 50\n"


@pytest.mark.parametrize(
    ("info", "affinity", "limit", "expected"),
    [
        (cpuinfo(HYPERTHREADED), {0, 1, 2, 3}, None, 2),
        (cpuinfo(TWO_SOCKETS), {0, 1, 2, 3}, None, 4),
        (cpuinfo(TWO_SOCKETS), {1, 2, 3}, None, 3),
        (cpuinfo(HYPERTHREADED), {0, 2}, None, 1),
        (cpuinfo(TWO_SOCKETS), {0, 1, 2, 3}, "max 100000\n", 4),
        (cpuinfo(TWO_SOCKETS), {0, 1, 2, 3}, "150000 100000\n", 2),
        (cpuinfo(TWO_SOCKETS), {0, 1, 2, 3}, "10000 100000\n", 1),
        (ARM, {0, 1}, None, 2),
        ("", {0, 1, 2}, None, 3),
    ],
)
def test_physical_cores(machine, info: str, affinity: set[int], limit: str | None, expected: int) -> None:
    machine(info, affinity, limit)
    assert environment.physical_cores() == expected


def test_without_linux_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert environment.physical_cores() == 6


def test_processor(machine) -> None:
    machine(cpuinfo([(0, 0)], vendor="AuthenticAMD"), {0})
    assert environment.is_amd()
    assert environment.cpu_model() == "Some CPU @ 2.0GHz: new"
    machine(ARM, {0})
    assert not environment.is_amd()
    assert environment.cpu_model() == "unknown"


PREPARE = """
import json, os
from pathlib import Path
from paddle_hrfamily.host import environment
environment.physical_cores = lambda: 8
environment.is_amd = lambda: True
{before}
environment.prepare()
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
    assert prepared(tmp_path, before="environment.prepare()") == [8, "8", "5"]


def test_what_the_user_set_is_kept(tmp_path: Path) -> None:
    assert prepared(tmp_path, found_by_paddle=3, OMP_NUM_THREADS="3", MKL_DEBUG_CPU_TYPE="4") == [None, "3", "4"]


def test_the_user_may_choose_one_thread(tmp_path: Path) -> None:
    assert prepared(tmp_path, OMP_NUM_THREADS="1") == [None, "1", "5"]


def test_paddle_imported_before_is_no_obstacle(tmp_path: Path) -> None:
    hooked = "from paddle_hrfamily.host import hook; hook.install(); import paddle"
    assert prepared(tmp_path, before=hooked) == [8, "8", "5"]


@pytest.mark.parametrize(("count", "share"), [("2", 4), ("3", 2), ("16", 1)])
def test_processes_of_one_machine_share_its_cores(tmp_path: Path, count: str, share: int) -> None:
    """paddle.distributed.launch has imported paddle, which wrote a 1 that is no choice of the user's."""
    inherited = {"OMP_NUM_THREADS": "1", environment.AUTOMATIC: "1"}
    assert prepared(tmp_path, PADDLE_LOCAL_SIZE=count, **inherited)[:2] == [share, str(share)]


def test_a_child_process_is_prepared_like_its_parent(tmp_path: Path) -> None:
    inherited = {"OMP_NUM_THREADS": "8", environment.AUTOMATIC: "8", "MKL_DEBUG_CPU_TYPE": "5"}
    assert prepared(tmp_path, **inherited) == [8, "8", "5"]


def test_missing_paddle_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"paddle_hrfamily\[cpu\].*paddle_hrfamily\[gpu\]"):
        environment.require_paddle()


def test_the_installed_paddle_computes_on_the_threads_it_was_given() -> None:
    """Against the real thing: no warning on import, and the variable holds for child processes."""
    pytest.importorskip("paddle")
    code = "import os; from paddle_hrfamily.host import environment; environment.prepare()\n"
    code += "print(os.environ['OMP_NUM_THREADS'])"
    said = run("-c", code, PYTHONPATH=str(ROOT))
    assert "OMP_NUM_THREADS" not in said
    assert int(said.splitlines()[-1]) == environment.physical_cores()
