"""The training loop of `hrfamily train`.

A seed gives the same numbers as in PaddleSeg's own (`paddleseg.core.train`), which `python -m paddleseg.train` runs; a
test holds them to each other. Checkpoints are the same too. What only this loop has: steps of several batches,
validation loss, early stopping, a time budget, other logs than VisualDL, frozen batch norms.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import log_util
from paddleseg.utils import logger, train_profiler, update_ema_model

from paddle_hrfamily.checkpointing.checkpoints import BEST, EMA_BEST, Run
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation.scores import Scores
from paddle_hrfamily.training import memory
from paddle_hrfamily.training.console import Steps, Verbosity
from paddle_hrfamily.training.freezing import Frozen
from paddle_hrfamily.training.step import Batch, Step
from paddle_hrfamily.training.stopping import TimeBudget, agreed
from paddle_hrfamily.training.trackers import Trackers
from paddle_hrfamily.training.validation import Validation


@dataclass(frozen=True)
class Options:
    """How to train. The first ones are arguments of PaddleSeg's `core.train`.

    Attributes:
        accumulate: batches of one step; `iters`, `save_interval` and `log_iters` count steps.
        early_stop: evaluations without a better score after which training ends.
        time_budget: seconds after `started` (by `time.monotonic()`) within which it ends, checkpoint included.
        log: trackers beside `metrics.jsonl`.
    """

    save_dir: str
    iters: int
    batch_size: int
    resume_model: str | None = None
    save_interval: int = 1000
    log_iters: int = 10
    num_workers: int = 0
    use_ema: bool = False
    keep_checkpoint_max: int = 5
    precision: str = "fp32"
    amp_level: str = "O1"
    profiler_options: str | None = None
    to_static_training: bool = False
    accumulate: int = 1
    early_stop: int | None = None
    time_budget: float | None = None
    started: float = field(default_factory=time.monotonic)
    log: tuple[str, ...] = ()
    verbosity: Verbosity = "normal"

    @property
    def half(self) -> bool:
        return self.precision == "fp16"


def train(
    model: nn.Layer,
    train_dataset: paddle.io.Dataset,
    optimizer: paddle.optimizer.Optimizer,
    losses: dict[str, Any],
    options: Options,
    *,
    validation: Validation | None = None,
    frozen: Frozen | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Train from where the checkpoint to resume from ends, evaluate and save at every `save_interval` and at the end.

    Args:
        losses: PaddleSeg's {"types": …, "coef": …}.
        validation: None leaves evaluation out.
        frozen: what `freeze` has frozen in the model.
        config: the whole config, which trackers keep and every checkpoint holds.

    Raises:
        UserError: the folder or the checkpoint cannot be used, the loss is no number any more, or memory is short.
    """
    run = Run({**asdict(options), "model": model, "train_dataset": train_dataset, "config": config})
    if run.start >= options.iters:
        logger.info(f"Nothing left to train: {run.folder} is at iteration {run.start} of {run.iters}")
        return
    if options.early_stop and run.state.stale >= options.early_stop:
        logger.info(f"Nothing left to train: {run.folder} has had {run.state.stale} evaluations without a better score")
        return
    _Training(run, model, train_dataset, optimizer, losses, options, validation, frozen or Frozen(), config or {}).run()


class _Training:
    def __init__(
        self,
        run: Run,
        model: nn.Layer,
        dataset: paddle.io.Dataset,
        optimizer: paddle.optimizer.Optimizer,
        losses: dict[str, Any],
        options: Options,
        validation: Validation | None,
        frozen: Frozen,
        config: Mapping[str, Any],
    ) -> None:
        self.checkpoints, self.options, self.validation, self.frozen = run, options, validation, frozen
        self.average = _average_of(model) if options.use_ema else None
        self.model = model
        self._train_mode()
        run.restore(model, optimizer)
        scaler = run.grad_scaler() if options.half else None
        if options.half and options.amp_level == "O2":
            self.model, optimizer = paddle.amp.decorate(
                models=model, optimizers=optimizer, level="O2", save_dtype="float32"
            )
        self.optimizer, network = optimizer, self.model
        if run.ranks > 1:
            if options.verbosity != "verbose":
                log_util.set_log_level("WARNING")  # Paddle's
            paddle.distributed.fleet.init(is_collective=True)
            self.optimizer = paddle.distributed.fleet.distributed_optimizer(optimizer)
            network = paddle.distributed.fleet.distributed_model(self.model)
        self.steps = run.batches(dataset, options.batch_size, options.num_workers)
        self.trackers = Trackers(Path(options.save_dir), list(options.log), config, start=run.start, writes=run.writes)
        if options.to_static_training:  # full_graph: by the source, as PaddleSeg 2.8.0 was written for
            self.model = paddle.jit.to_static(self.model, full_graph=True)
            network = network if run.ranks > 1 else self.model
        self.step = Step(
            self.model, self.optimizer, losses, network=network, scaler=scaler, amp_level=options.amp_level
        )
        if self.average is not None:
            run.start_average(self.average, self.model)
        self.budget = TimeBudget(options.time_budget, options.started)
        self.line = Steps(
            run.start,
            options.iters,
            options.log_iters,
            images=options.batch_size * options.accumulate,
            epoch=len(self.steps),
            shown=run.writes and options.verbosity != "quiet",
        )
        self.scores: Scores | None = None

    def run(self) -> None:
        """Every step to the end."""
        options, batches = self.options, self._batches()
        try:
            for iteration in range(self.checkpoints.start + 1, options.iters + 1):
                over = self._one_step(iteration, batches)
                if iteration % options.save_interval == 0 or iteration == options.iters or over:
                    began = time.monotonic()
                    self._evaluate_and_save(iteration)
                    self.budget.took(saving=time.monotonic() - began)
                    if over or self._is_stale():
                        self._say_why(iteration, over)
                        break
        finally:
            self.line.close()
            self.trackers.close()
        if self.scores is not None and options.verbosity == "normal" and hasattr(self.scores, "report"):
            logger.info("[EVAL] The last evaluation:\n" + self.scores.report.table().strip())

    def _batches(self) -> Iterator[Batch]:
        """Of one epoch after the other."""
        return itertools.chain.from_iterable(itertools.repeat(self.steps))

    def _one_step(self, iteration: int, batches: Iterator[Batch]) -> bool:
        """Returns whether the time is over."""
        options, began = self.options, time.monotonic()
        parts = list(itertools.islice(batches, options.accumulate))
        waited = time.monotonic() - began
        lr = self.optimizer.get_lr()
        loss, losses = memory.guarded(self.step, parts)
        train_profiler.add_profiler_step(options.profiler_options)
        self.checkpoints.check_finite(loss)
        if self.average is not None:
            update_ema_model(self.average, self.model, step=iteration)
        took = time.monotonic() - began
        self.line.add([loss, *losses], waited, took)
        if iteration % options.log_iters == 0 and self.checkpoints.writes:
            self.trackers.scalars(self.line.scalars(iteration, lr), iteration)
        self.budget.took(step=took)
        return iteration < options.iters and self.budget.is_over()

    def _evaluate_and_save(self, iteration: int) -> None:
        found = {}
        if self.validation is not None:
            found = self._evaluate(iteration, self.validation)
        if self.checkpoints.writes:
            folder = self.checkpoints.save(self.model, self.optimizer, self.average)
            if not found:
                logger.info(f"Saved {folder}")
            self.trackers.scalars(found, iteration)
        self._train_mode()

    def _evaluate(self, iteration: int, validation: Validation) -> dict[str, float]:
        """Scores by the name that trackers give them."""
        detail = self.options.verbosity == "verbose"
        self.scores = scores = self._validated(validation, self.model, detail)
        found = {"Evaluate/mIoU": float(scores[0]), "Evaluate/Acc": float(scores[1])}
        if validation.loss is not None:
            found["Evaluate/loss"] = validation.loss
        best, pictures = {BEST: float(scores[0])}, validation.pictures
        if self.average is not None:
            averaged = self._validated(validation, self.average, detail)
            best[EMA_BEST] = float(averaged[0])
            found.update({"Evaluate/Ema_mIoU": float(averaged[0]), "Evaluate/Ema_Acc": float(averaged[1])})
        self.checkpoints.remember(best)
        measure = getattr(scores, "measure", Scores.measure)
        logger.info(f"[EVAL] iteration {iteration}: {self._in_words(found, measure)}")
        self.trackers.pictures(pictures, iteration)
        return found

    def _validated(self, validation: Validation, model: nn.Layer, detail: bool) -> Scores:
        try:
            return validation(model, print_detail=detail)
        except (MemoryError, RuntimeError, OSError) as error:
            if not memory.is_out_of_memory(error):
                raise
        raise UserError(
            "out of memory in evaluation, which takes whole images: set test_config.is_slide, crop_size and stride, "
            "or give val_dataset a smaller size"
        )

    def _in_words(self, found: Mapping[str, float], measure: str) -> str:
        names = {"loss": "loss", "mIoU": measure, "Acc": "accuracy", "Ema_mIoU": f"EMA {measure}"}
        values = {name: found.get(f"Evaluate/{key}") for key, name in names.items()}
        words = [f"{name} {value:.4f}" for name, value in values.items() if value is not None]
        for key, (iteration, score) in self.checkpoints.state.best.items():
            kind = "EMA " if key == EMA_BEST else ""
            words.append(f"best validation {kind}{measure} {score:.4f} at iteration {iteration}")
        return ", ".join(words)

    def _is_stale(self) -> bool:
        limit = self.options.early_stop
        return limit is not None and agreed(self.checkpoints.state.stale >= limit)

    def _say_why(self, iteration: int, over: bool) -> None:
        if over:
            why = "the time budget is used up; --resume_model latest goes on"
        else:
            why = f"{self.checkpoints.state.stale} evaluations without a better score"
        logger.info(f"Ended at iteration {iteration} of {self.options.iters}: {why}")

    def _train_mode(self) -> None:
        self.model.train()
        self.frozen.hold()


def _average_of(model: nn.Layer) -> nn.Layer:
    average = deepcopy(model)
    average.eval()
    for parameter in average.parameters():
        parameter.stop_gradient = True
    return average


def header(
    model: nn.Layer, options: Options, images: Mapping[str, int], classes: int | None, seed: int, schedule: str
) -> Sequence[str]:
    """What is trained, on what and how, in a few lines."""
    from paddle_hrfamily.training import console

    ranks = paddle.distributed.ParallelEnv().nranks
    factors = [f"batch {options.batch_size}"]
    factors += [f"{options.accumulate} accumulated"] if options.accumulate > 1 else []
    factors += [f"{ranks} processes"] if ranks > 1 else []
    total = options.batch_size * options.accumulate * ranks
    step = " x ".join(factors) + (f" = {total}" if len(factors) > 1 else "")
    epochs = options.iters * total / max(1, images["train"])
    sets = ", ".join(f"{count} {name}" for name, count in images.items())
    return (
        f"{type(model).__name__}: {console.parameters(model)}{f', {classes} classes' if classes else ''}; "
        f"{console.device()}, {options.precision}; Paddle {paddle.__version__}",
        f"{sets} images; {step}; {options.iters} iterations ({epochs:.1f} epochs); {schedule}; seed {seed}",
    )
