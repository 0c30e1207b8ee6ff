"""Threads and CPU settings that Paddle does not choose well by itself.

As shipped, Paddle computes on one thread, and its bundled MKL takes a slow path on AMD CPUs: a training step
takes twice the time that it needs. Nothing that the user has set is overridden.
"""

from __future__ import annotations

import importlib.util
import os
import warnings

from hrfamily_deploy import cpu
from paddle_hrfamily.errors import UserError

THREADS, MKL = "OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"
# What OMP_NUM_THREADS was last set to without the user: Paddle writes 1 into it, and child processes inherit that.
AUTOMATIC = "PADDLE_HRFAMILY_AUTO_THREADS"


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
    here = cpu.read()
    chosen = {MKL: "5"} if here.is_amd and MKL not in os.environ else {}
    if _threads_are_automatic():
        chosen[THREADS] = str(max(1, here.cores // _local_processes()))
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
