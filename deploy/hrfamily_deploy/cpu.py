"""The CPU: what it is called and can do, and how many cores this process may compute on.

Linux tells by /proc/cpuinfo, the process's affinity and the container's control group; elsewhere only the number of
logical CPUs is known. Nothing but the standard library is imported.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup/cpu.max")  # version 2: "150000 100000", or "max 100000"

_FIELD = re.compile(r"^(.+?)\s*: (.*)$", re.MULTILINE)
_Table = dict[str, str]


@dataclass(frozen=True)
class Cpu:
    """Attributes:
    cores: physical ones that this process may use, at least 1.
    name: as "Intel(R) Xeon(R) Processor", "" if unknown.
    vendor: as "GenuineIntel", "" if unknown.
    flags: the instructions that it has, as Linux names them.
    """

    cores: int
    name: str = ""
    vendor: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def is_amd(self) -> bool:
        return self.vendor == "AuthenticAMD"


def read() -> Cpu:
    """This machine's CPU, as this process sees it."""
    tables = _tables()

    def first(field: str) -> str:
        return next((table[field] for table in tables if field in table), "")

    cores = len(_one_of_each_core(tables))
    return Cpu(
        min(cores, _quota() or cores), first("model name"), first("vendor_id"), frozenset(first("flags").split())
    )


def one_of_each_core() -> list[int]:
    """The numbers of the logical CPUs that this process may use, one of each physical core."""
    return _one_of_each_core(_tables())


def _one_of_each_core(tables: list[_Table]) -> list[int]:
    places = {int(table["processor"]): _place(table) for table in tables}
    chosen: dict[object, int] = {}
    for number in _usable():
        chosen.setdefault(places.get(number, number), number)
    return list(chosen.values())


def _place(table: _Table) -> object:
    """What the logical CPUs of one core have in common; nothing, where the kernel does not tell."""
    return (table.get("physical id"), table["core id"]) if "core id" in table else int(table["processor"])


def _usable() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _tables() -> list[_Table]:
    """One table of /proc/cpuinfo for each logical CPU; none where there is no such file, or another system's."""
    try:
        blocks = CPUINFO.read_text().split("\n\n") if hasattr(os, "sched_getaffinity") else []
    except OSError:
        return []
    tables = [dict(_FIELD.findall(block)) for block in blocks]
    return [table for table in tables if "processor" in table]


def _quota() -> int | None:
    """Cores that the container's control group grants, None for no limit.

    A fraction counts as one more: of 1.5 cores one thread would leave a third unused, while two use all of it and
    wait for a quarter of their time.
    """
    try:
        limit, period = CGROUP.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(1, -(-int(limit) // int(period)))
