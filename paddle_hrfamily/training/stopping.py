"""Ends of training before its last iteration."""

from __future__ import annotations

import time

import paddle


class TimeBudget:
    """Seconds that this process may train, the last evaluation and checkpoint included.

    Args:
        seconds: None is without end.
        started: when the time began to run, by `time.monotonic()`.
    """

    def __init__(self, seconds: float | None, started: float) -> None:
        self.end = None if seconds is None else started + seconds
        self.slowest_step = self.slowest_saving = 0.0

    def is_over(self) -> bool:
        """Whether another step, an evaluation and a checkpoint might go beyond the end; all processes agree."""
        if self.end is None:
            return False
        return agreed(time.monotonic() + self.slowest_step + self.slowest_saving > self.end)

    def took(self, step: float = 0.0, saving: float = 0.0) -> None:
        """How many seconds one of each has taken."""
        self.slowest_step = max(self.slowest_step, step)
        self.slowest_saving = max(self.slowest_saving, saving)


def agreed(decision: bool) -> bool:
    """The decision of the first process, in all of them."""
    if paddle.distributed.ParallelEnv().nranks == 1:
        return decision
    flag = paddle.to_tensor([int(decision)], dtype="int64")
    paddle.distributed.broadcast(flag, src=0)
    return bool(int(flag))
