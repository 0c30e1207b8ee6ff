"""What training says while it runs: lines in a log, and a bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Literal

import paddle
from paddle import nn
from paddleseg.cvlibs import builder
from paddleseg.utils import logger
from paddleseg.utils.progbar import Progbar
from tqdm import tqdm

from hrfamily_deploy.progress import progress
from paddle_hrfamily.patching import Overlay, patched

Verbosity = Literal["quiet", "normal", "verbose"]
STATISTICS = ("._mean", "._variance")  # of batch norms, which Paddle counts among the parameters
_LEVELS = {"quiet": 1, "normal": 2, "verbose": 2}  # of PaddleSeg's logger: up to warnings, up to information


@contextlib.contextmanager
def speaking(verbosity: Verbosity) -> Iterator[None]:
    """Within the `with`, PaddleSeg's logger writes what is asked for, and above a bar that is on the terminal.

    Unless that is "verbose", the builder's lines about every section of the config are left out. "quiet" leaves
    warnings alone.
    """
    log = logger.log

    def above_bars(level: int = 2, message: str = "") -> None:
        with tqdm.external_write_mode(file=sys.stdout):
            log(level, message)

    with contextlib.ExitStack() as patches:
        patches.enter_context(patched(logger, log=above_bars, log_level=_LEVELS[verbosity]))
        if verbosity != "verbose":
            silent = Overlay(logger, info=_nothing, warning=_nothing)
            patches.enter_context(patched(builder, logger=silent))
        if verbosity == "quiet":
            patches.enter_context(patched(Progbar, update=_nothing))
        yield


def parameters(model: nn.Layer) -> str:
    """How many parameters a network has, and how many of them are trained, in words."""
    named = model.named_parameters()
    sizes = [(p.size, p.stop_gradient) for name, p in named if not name.endswith(STATISTICS)]
    total, frozen = sum(size for size, _ in sizes), sum(size for size, kept in sizes if kept)
    return f"{_millions(total)} parameters" + (f", {_millions(total - frozen)} of them trained" if frozen else "")


def device() -> str:
    """The device's name, and how many processes share the work."""
    name = paddle.device.get_device()
    if name.startswith("gpu"):
        name = f"{name} ({paddle.device.cuda.get_device_name()})"
    ranks = paddle.distributed.ParallelEnv().nranks
    return f"{name}, {ranks} processes" if ranks > 1 else name


class Steps:
    """Averages over the steps since the last line, and the bar.

    Args:
        start, iters: the iterations done, and in all.
        log_iters: steps of a line.
        images: of a step in this process.
        epoch: steps of an epoch.
        shown: whether there is a bar on a terminal.
    """

    def __init__(self, start: int, iters: int, log_iters: int, *, images: int, epoch: int, shown: bool) -> None:
        self.iters, self.log_iters, self.images, self.epoch = iters, log_iters, images, epoch
        hidden = not (shown and sys.stderr.isatty())
        self.bar: tqdm = progress(
            description="training", total=iters, unit="iter", initial=start, disable=hidden, leave=False
        )
        self._begin()

    def _begin(self) -> None:
        self.losses: list[list[float]] = []
        self.waiting = self.working = 0.0

    def add(self, losses: list[float], waiting: float, seconds: float) -> None:
        """One step: its loss and the parts of that, seconds spent waiting for data, and in all."""
        self.losses.append(losses)
        self.waiting, self.working = self.waiting + waiting, self.working + seconds
        self.bar.update()

    def scalars(self, iteration: int, lr: float) -> dict[str, float]:
        """What is drawn, by PaddleSeg's names, and a line of it. The next line begins anew.

        `batch_cost` and `reader_cost` are seconds of a step.
        """
        count = len(self.losses)
        loss, *parts = (sum(column) / count for column in zip(*self.losses))
        cost, reading = self.working / count, self.waiting / count
        left = time.strftime("%H:%M:%S", time.gmtime((self.iters - iteration) * cost % 86400))
        days = int((self.iters - iteration) * cost // 86400)
        logger.info(
            f"[TRAIN] epoch: {(iteration - 1) // self.epoch + 1}, iter: {iteration}/{self.iters}, loss: {loss:.4f}, "
            f"lr: {lr:.6f}, {self.images / cost:.3g} images/s ({reading / cost:.0%} of the time waiting for data), "
            f"ETA {f'{days} d ' if days else ''}{left}"
        )
        self._begin()
        several = {f"Train/loss_{index}": value for index, value in enumerate(parts)} if len(parts) > 1 else {}
        return {"Train/loss": loss, **several, "Train/lr": lr, "Train/batch_cost": cost, "Train/reader_cost": reading}

    def close(self) -> None:
        self.bar.close()


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _millions(number: int) -> str:
    return f"{number / 1e6:.3g} M"
