"""The CPU that this process sees, on the descriptions of several machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hrfamily_deploy import cpu
from hrfamily_deploy.runtime import hardware
from paddle_hrfamily import system
from paddle_hrfamily.commands import doctor
from paddle_hrfamily.doctor.installation import Facts


def cpuinfo(cores: list[tuple[int, int]], vendor: str = "GenuineIntel") -> str:
    """/proc/cpuinfo of logical CPUs on the given (socket, core)."""
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
        monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(cpu, "CGROUP", tmp_path / "cpu.max")
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
    assert cpu.read().cores == expected


def test_without_linux_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu.read().cores == 6


def test_its_name_and_vendor(machine) -> None:
    machine(cpuinfo([(0, 0)], vendor="AuthenticAMD"), {0})
    assert cpu.read().is_amd
    assert cpu.read().name == "Some CPU @ 2.0GHz: new"
    machine(ARM, {0})
    assert not cpu.read().is_amd
    assert cpu.read().name == ""


TWINS = [(number // 8, number // 2 % 4) for number in range(16)]  # 2 sockets, 4 cores each, 2 threads each


@pytest.mark.parametrize(
    ("affinity", "limit", "cores"),
    [(16, None, 8), (16, "max 100000\n", 8), (16, "250000 100000\n", 3), (16, "200000 100000\n", 2), (1, None, 1)],
)
def test_cores_are_physical_and_within_a_quota(machine, affinity: int, limit: str | None, cores: int) -> None:
    machine(cpuinfo(TWINS), set(range(affinity)), limit)
    assert cpu.read().cores == cores


def test_one_logical_cpu_of_each_core(machine) -> None:
    machine(cpuinfo(TWINS), set(range(16)), "100000 100000\n")
    assert cpu.one_of_each_core() == [0, 2, 4, 6, 8, 10, 12, 14]
    machine(cpuinfo(TWINS), {1, 2, 3, 9})
    assert cpu.one_of_each_core() == [1, 2, 9]


def test_of_one_and_a_half_cores_all_readers_say_two(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cpuinfo(TWO_SOCKETS), {0, 1, 2, 3}, "150000 100000\n")
    for name in (system.THREADS, system.AUTOMATIC):
        monkeypatch.delenv(name, raising=False)
    shown = doctor._overview(Facts(python=(3, 11, 0), versions={}))
    assert cpu.read().cores == hardware.probe().cores == int(system.choices()[system.THREADS]) == 2
    assert shown["devices"]["cores"] == 2 and shown["devices"]["cpu"] == "Some CPU @ 2.0GHz: new"


def test_a_cpu_without_a_name(machine) -> None:
    machine(ARM, {0, 1})
    assert doctor._overview(Facts(python=(3, 11, 0), versions={}))["devices"]["cpu"] == "unknown"
