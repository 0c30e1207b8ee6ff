"""Threads and processor settings that Paddle does not choose well by itself.

As shipped, Paddle computes on one thread, and its bundled MKL takes a slow path on AMD processors: a training step
takes twice the time that it needs. Nothing that the user has set is overridden.
"""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from pathlib import Path

from paddle_hrfamily.errors import UserError

THREADS, MKL = "OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"
# What OMP_NUM_THREADS was last set to without the user: Paddle writes 1 into it, and child processes inherit that.
AUTOMATIC = "PADDLE_HRFAMILY_AUTO_THREADS"

_FIELD = re.compile(r"^(.+?)\s*: (.*)$", re.MULTILINE)
CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup/cpu.max")


def require_paddle() -> None:
    """Prepare for computing with Paddle. Raises UserError with the command to type if it is not installed."""
    if importlib.util.find_spec("paddle") is None:
        raise UserError(
            "PaddlePaddle is not installed: pip install 'paddle_hrfamily[cpu]' for the CPU, "
            "or pip install 'paddle_hrfamily[gpu]' for NVIDIA GPUs"
        )
    prepare()


def prepare() -> None:
    """Import paddle, if there is one, and let it compute on every core. Harmless where paddle is imported already.

    MKL looks at its variable when it first computes, not when it is loaded, and threads can be set at any time.
    """
    chosen = choices()
    before_paddle()
    if MKL in chosen:
        os.environ[MKL] = chosen[MKL]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No ccache found")  # of no interest: nothing is compiled here
            from paddle.base import core
    except ImportError:  # missing, or broken: whoever imports it next gets the full story
        return
    if THREADS in chosen:
        os.environ[THREADS] = os.environ[AUTOMATIC] = chosen[THREADS]
        core.set_num_threads(int(chosen[THREADS]))


def choices() -> dict[str, str]:
    """The variables that are set for computing, because the user has not set them."""
    chosen = {MKL: "5"} if is_amd() and MKL not in os.environ else {}
    if _threads_are_automatic():
        chosen[THREADS] = str(max(1, physical_cores() // _local_processes()))
    return chosen


def before_paddle() -> None:
    """What has to happen before paddle is first imported. Sets no more than Paddle sets itself."""
    import zlib  # noqa: F401  Paddle 2.6 exports its own zlib's symbols, which crash Python's if that is loaded later.

    if _threads_are_automatic():
        # Paddle prints a warning when it finds more than 1 on import, so the true number is set afterwards.
        os.environ[THREADS] = os.environ[AUTOMATIC] = "1"


def _threads_are_automatic() -> bool:
    return os.environ.get(THREADS) in (None, os.environ.get(AUTOMATIC))


def _local_processes() -> int:
    """How many processes paddle.distributed has started on this machine, which share its cores."""
    count = os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or "1"
    return max(1, int(count))


def physical_cores() -> int:
    """The cores that this process may compute on: no hyper-threads, within its affinity and its container's quota."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    cores = {
        (cpu.get("physical id"), cpu["core id"]) if "core id" in cpu else cpu["processor"]
        for cpu in _cpuinfo()
        if int(cpu["processor"]) in usable
    }
    return max(1, min(len(cores) or len(usable), _quota()))


def cpu_model() -> str:
    """The processor's name, or "unknown"."""
    return next((cpu["model name"] for cpu in _cpuinfo() if "model name" in cpu), "unknown")


def is_amd() -> bool:
    """Whether the processor is AMD's. Only Linux says so without help."""
    return any(cpu.get("vendor_id") == "AuthenticAMD" for cpu in _cpuinfo())


def _cpuinfo() -> list[dict[str, str]]:
    """One table of /proc/cpuinfo for each logical processor."""
    try:
        blocks = CPUINFO.read_text().split("\n\n")
    except OSError:
        return []
    tables = [dict(_FIELD.findall(block)) for block in blocks]
    return [table for table in tables if "processor" in table]


def _quota() -> int:
    """Whole cores that the container's control group (version 2) grants; a fraction counts as one more."""
    try:
        limit, period = CGROUP.read_text().split()
    except (OSError, ValueError):
        limit, period = "max", "1"
    return (os.cpu_count() or 1) if limit == "max" else -(-int(limit) // int(period))
