"""Checkpoints that survive a kill and a resume that continues exactly, for PaddleSeg's training loop and for ours.

`install()` puts a function around `paddleseg.core.train`. During a call, the loop's module finds functions of `Run` in
the place of its own: a `paddle.save` that writes whole files, loaders that depend on (seed, iteration) alone, a
`resume` that restores everything. The loop itself stays PaddleSeg's. `training.loop` calls the methods of `Run` itself.
"""

from __future__ import annotations

import collections
import contextlib
import inspect
import itertools
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddleseg
from paddleseg.utils import logger, train_profiler

from paddle_hrfamily.checkpointing import order, snapshot
from paddle_hrfamily.checkpointing.order import SeededDataset, SeededSteps, StepSampler
from paddle_hrfamily.checkpointing.restore import NAME_TABLE, restore_ema, restore_model, restore_optimizer
from paddle_hrfamily.checkpointing.snapshot import CONFIG, EMA_PARAMETERS, OPTIMIZER, PARAMETERS, STATE_FILE, State
from paddle_hrfamily.contract import traits
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import Unwritable, replacing
from paddle_hrfamily.patching import Overlay, core_module, patched, wrap_core
from paddle_hrfamily.weights.files import PADDING_KEY

LATEST = "latest"
BEST, EMA_BEST = "best_model", "ema_best_model"


def install() -> None:
    """Make every training in this process save and resume safely. Safe to repeat."""
    wrap_core("train", "train", _safe_training)


def _safe_training(train: Callable) -> Callable:
    def training(*args: object, config: Mapping[str, Any] | None = None, **kwargs: object) -> None:
        bound = inspect.signature(train).bind(*args, **kwargs)
        bound.apply_defaults()
        run = Run({**bound.arguments, "config": config})
        if run.start >= bound.arguments["iters"]:
            run.log.info(f"Nothing left to train: {run.folder} is at iteration {run.start} of {run.iters}")
            return
        bound.arguments["resume_model"] = str(run.folder) if run.folder else None
        bound.arguments["keep_checkpoint_max"] = 0  # the loop would count what it has written itself alone
        model = bound.arguments["model"]
        with contextlib.ExitStack() as patches:
            patches.enter_context(patched(core_module("train"), **run.replacements()))
            if hasattr(model, "loss_computation"):  # which the loop then calls in place of its own
                watched = run.watched(model.loss_computation)
                patches.enter_context(patched(model, loss_computation=watched))
            train(*bound.args, **bound.kwargs)

    return training


class Run:
    """One training run: where it starts, what it has reached, and what PaddleSeg's loop is given to work with.

    Args:
        arguments: those of `paddleseg.core.train`, by name; there may be `accumulate`, batches of one step, and
            `config`, the whole config, which every checkpoint then holds.

    Raises:
        UserError: the folder to save in cannot be written, or the checkpoint to resume from cannot be used.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.log = logger
        self.save_dir = Path(arguments["save_dir"])
        self.padding = traits(getattr(arguments["model"], "backbone", arguments["model"])).padding
        self.iters = arguments["iters"]
        self.config: Mapping[str, Any] | None = arguments.get("config")
        self.writes = paddle.distributed.ParallelEnv().local_rank == 0  # as in the loop
        if self.writes:
            _check_writable(self.save_dir)
        keys = (BEST, EMA_BEST) if arguments.get("use_ema") else (BEST,)
        self.files = (PARAMETERS, OPTIMIZER, EMA_PARAMETERS)[: len(keys) + 1]
        self.folder, self.resumed = self._find(arguments["resume_model"])
        self.start = self.resumed.iteration
        self.parts = arguments.get("accumulate", 1)
        self.seed = _initial_seed() if self.resumed.seed is None else self.resumed.seed
        self.ranks = paddle.distributed.ParallelEnv().nranks
        self.state = State(
            iteration=self.start,
            seed=self.seed,
            samples=len(arguments["train_dataset"]),
            batch_size=arguments["batch_size"] * self.parts,
            ranks=self.ranks,
            best=self._published(self.resumed),
            stale=self.resumed.stale,
            versions=_versions(),
        )
        self.scores: dict[str, float] = {}
        self.measure = "mIoU"
        self.turns = itertools.cycle(keys)  # PaddleSeg's loop evaluates the model, then its average
        self.steps: SeededSteps | None = None
        self.scaler: paddle.amp.GradScaler | None = None
        self.losses: list[paddle.Tensor] = []  # of the last step
        self.keep: int = arguments["keep_checkpoint_max"]  # 0 keeps all
        self.kept = collections.deque(
            folder for n, folder in snapshot.checkpoints(self.save_dir) if self.folder and n <= self.start
        )

    def replacements(self) -> dict[str, object]:
        """The globals of paddleseg.core.train that are replaced while it runs."""
        module = core_module("train")
        io = Overlay(paddle.io, DistributedBatchSampler=self._sampler, DataLoader=self._loader)
        amp = Overlay(paddle.amp, GradScaler=self._grad_scaler)
        return {
            "paddle": Overlay(paddle, save=self._save, flops=self._flops, io=io, amp=amp),
            "resume": self._resume,
            "evaluate": self._remembering_scores(module.evaluate),
            "init_ema_params": self._starting_average(module.init_ema_params),
            "loss_computation": self.watched(module.loss_computation),
            "train_profiler": Overlay(module.train_profiler, add_profiler_step=self._after_step),
            "logger": Overlay(module.logger, info=self._info),
        }

    def watched(self, loss_computation: Callable) -> Callable:
        """The same function, whose losses `_after_step` looks at: here that would wait for the device."""

        def watching(*args: object, **kwargs: object) -> list[paddle.Tensor]:
            losses = loss_computation(*args, **kwargs)
            self.losses = [loss.detach() for loss in losses]
            return losses

        return watching

    # What our own loop calls, in this order

    def batches(self, dataset: paddle.io.Dataset, batch_size: int, num_workers: int) -> SeededSteps:
        """The steps from the one after `start` on to the end of its epoch, each as `parts` batches of `batch_size`
        samples; iterated again, those of the next epoch.

        Raises:
            UserError: the data set has too few samples for one step.
        """
        self._agree_on_seed()
        plan = {"seed": self.seed, "start": self.start, "parts": self.parts}
        self.steps = order.steps(dataset, batch_size, num_workers, **plan)
        return self.steps

    def restore(self, model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
        """Set model and optimizer as the checkpoint to resume from has them, if there is one. Raises UserError."""
        if self.folder:
            self._resume(model, optimizer, str(self.folder))

    def grad_scaler(self) -> paddle.amp.GradScaler:
        """PaddleSeg's scaler of the loss in half precision, as the checkpoint to resume from left it."""
        return self._grad_scaler(init_loss_scaling=1024)

    def start_average(self, average: paddle.nn.Layer, model: paddle.nn.Layer) -> None:
        """Set the averaged model as the checkpoint has it, else as `model`."""
        self._starting_average(core_module("train").init_ema_params)(average, model)

    def check_finite(self, loss: float) -> None:
        """Raises UserError if the loss of the last step is no number; it would go into the next checkpoint."""
        if not math.isfinite(loss):
            kept = next((f for f, state in snapshot.newest(self.save_dir) if isinstance(state, State)), None)
            raise UserError(
                f"the loss is {loss} at iteration {self._iteration()}; lower the learning rate or lengthen the "
                f"warm-up ({f'the last whole checkpoint is {kept}' if kept else 'no checkpoint was written yet'})"
            )

    def remember(self, scores: Mapping[str, float]) -> None:
        """Take the scores of an evaluation, by "best_model" and "ema_best_model": the best so far is known at once."""
        self.scores = dict(scores)
        better = [key for key, score in scores.items() if score > self.state.best.get(key, (0, -1.0))[1]]
        for key in better:
            self.state.best[key] = (self._iteration(), scores[key])
        self.state.stale = 0 if better else self.state.stale + 1

    def save(
        self, model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, average: paddle.nn.Layer | None = None
    ) -> Path:
        """Write a whole checkpoint of this iteration and, if it has the best score so far, publish it as that.

        Raises:
            UserError: the disk is full, or the like; earlier checkpoints stay whole.
        """
        folder = self.save_dir / f"iter_{self._iteration()}"
        contents = [
            model.state_dict(),
            optimizer.state_dict(),
            *([average.state_dict()] if average is not None else []),
        ]
        for name, content in zip(self.files, contents):
            self._save(content, str(folder / name))
        for key in self.scores:
            if self.state.best[key][0] == self.state.iteration:
                self._save({}, str(self.save_dir / key / _parameters_of(key)))
        return folder

    # Where to start

    def _find(self, resume_model: str | None) -> tuple[Path | None, State]:
        if resume_model == LATEST:
            for folder, state in snapshot.newest(self.save_dir):
                if isinstance(state, State):
                    return folder, state
                self.log.warning(f"Skipping the checkpoint {folder}: {state}")
            self.log.info(f"No whole checkpoint in {self.save_dir}: starting at iteration 0")
        elif resume_model is not None:
            return self._named(Path(resume_model))
        elif snapshot.checkpoints(self.save_dir):
            self.log.warning(
                f"{self.save_dir} holds checkpoints of an earlier run, which this one will mix with and overwrite; "
                f"--resume_model {LATEST} continues that run, another --save_dir keeps it"
            )
        return None, State(iteration=0)

    def _named(self, folder: Path) -> tuple[Path, State]:
        folder = folder.parent if folder.is_file() else folder
        if not folder.is_dir():
            raise UserError(
                f"--resume_model {folder} does not exist; name a checkpoint folder such as {self.save_dir}/iter_1000, "
                f"or say {LATEST}"
            )
        try:
            state = snapshot.read(folder)
        except snapshot.Broken as reason:
            raise UserError(f"--resume_model {folder} cannot be resumed: {reason}; say {LATEST} instead") from reason
        later = [path.name for n, path in snapshot.checkpoints(self.save_dir) if n > state.iteration]
        if later:
            self.log.warning(f"{self.save_dir} also holds {', '.join(later)}, which {LATEST} would prefer")
        return folder, state

    def _published(self, state: State) -> dict[str, tuple[int, float]]:
        """The best scores whose models are on the disk; a kill may have come between a checkpoint and its copy."""
        best = {}
        for key, (iteration, score) in state.best.items():
            newest = self.folder if iteration == state.iteration else None
            if newest and newest.name not in (BEST, EMA_BEST) and self.writes:
                self._publish(key, newest, tuple(state.files))
            if (self.save_dir / key / _parameters_of(key)).is_file():
                best[key] = (iteration, score)
        return best

    # What the loop calls

    def _resume(self, model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, folder: str) -> int:
        names = restore_model(model, Path(folder))
        restore_optimizer(optimizer, model, Path(folder), names)
        changed = [
            f"{name} was {before} and is {now}"
            for name in ("samples", "batch_size", "ranks")
            if (before := getattr(self.resumed, name)) not in (None, now := getattr(self.state, name))
        ]
        self.log.info(f"Resumed {folder} at iteration {self.start}, seed {self.seed}")
        if changed:
            self.log.warning(f"The data order cannot be continued exactly: {', '.join(changed)}")
        return self.start

    def _agree_on_seed(self) -> None:
        if self.ranks > 1:  # without --seed every process has drawn its own
            seed = paddle.to_tensor([self.seed], dtype="int64")
            paddle.distributed.broadcast(seed, src=0)
            self.seed = self.state.seed = int(seed)

    def _sampler(self, dataset: paddle.io.Dataset, batch_size: int, **_: object) -> StepSampler:
        self._agree_on_seed()
        return StepSampler(dataset, batch_size, seed=self.seed, start=self.start)

    def _loader(self, dataset: paddle.io.Dataset, **options: object) -> SeededSteps:
        loader = paddle.io.DataLoader(SeededDataset(dataset), **options)
        self.steps = SeededSteps(loader, seed=self.seed, start=self.start)
        return self.steps

    def _grad_scaler(self, **options: object) -> paddle.amp.GradScaler:
        self.scaler = paddle.amp.GradScaler(**options)
        if self.resumed.scaler:
            self.scaler.load_state_dict(self.resumed.scaler)
        return self.scaler

    def _iteration(self) -> int:
        """The one whose batch was handed out last."""
        return self.start if self.steps is None else self.steps.iteration

    def _after_step(self, profiler_options: str | None) -> None:
        """Called once the parameters are updated, before anything is evaluated or saved.

        Raises:
            UserError: the loss is no number; it would go into the next checkpoint.
        """
        train_profiler.add_profiler_step(profiler_options)
        self.check_finite(float(sum(self.losses)))

    def _remembering_scores(self, evaluate: Callable) -> Callable:
        def remembering(*args: object, **kwargs: object) -> tuple:
            result = evaluate(*args, **kwargs)
            self.scores[next(self.turns)] = float(result[0])
            self.measure = getattr(result, "measure", self.measure)
            return result

        return remembering

    def _starting_average(self, init_ema_params: Callable) -> Callable:
        def starting(ema_model: paddle.nn.Layer, model: paddle.nn.Layer) -> None:
            init_ema_params(ema_model, model)
            if self.folder and (self.folder / EMA_PARAMETERS).is_file():
                restore_ema(ema_model, self.folder)

        return starting

    def _save(self, content: dict[str, Any], path: str) -> None:
        target = Path(path)
        try:
            if target.parent.name in (BEST, EMA_BEST):
                self._save_best(target.parent.name)
            else:
                self._save_checkpoint(content, target)
        except Unwritable as error:
            raise UserError(f"{error}; earlier checkpoints are whole") from error
        except OSError as error:
            raise UserError(f"cannot write {path}: {error}; earlier checkpoints are whole") from error

    def _save_checkpoint(self, content: dict[str, Any], path: Path) -> None:
        if path.name == self.files[0]:
            snapshot.begin(path.parent)
            self._save_config(path.parent)
        if path.name != OPTIMIZER:
            content = self._with_padding(content)
        with replacing(path, durable=True) as draft:
            paddle.save(content, str(draft))
        if path.name == self.files[-1]:
            self.state.iteration = self._iteration()
            for key, score in self.scores.items():
                if score > self.state.best.get(key, (0, -1.0))[1]:
                    self.state.best[key] = (self.state.iteration, score)
            if self.scaler is not None:
                self.state.scaler = {key: np.asarray(value).tolist() for key, value in self.scaler.state_dict().items()}
            snapshot.seal(path.parent, self.state, self.files)
            self._remove_oldest(path.parent)

    def _save_config(self, folder: Path) -> None:
        """Not among the files with a checksum: whoever changes a path in it can still resume."""
        if self.config:
            snapshot.write_config(folder, self.config)
        else:
            (folder / CONFIG).unlink(missing_ok=True)  # of an earlier run, into whose folder this one writes

    def _remove_oldest(self, newest: Path) -> None:
        """keep_checkpoint_max also counts what was saved before the resume."""
        self.kept.append(newest)
        if len(self.kept) > self.keep > 0:
            shutil.rmtree(self.kept.popleft())

    def _with_padding(self, tensors: dict[str, paddle.Tensor]) -> dict[str, Any]:
        """With the padding that they were trained with, which no name tells; the rest as `paddle.save` makes it."""
        if self.padding is None:
            return tensors
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        return {**arrays, NAME_TABLE: {key: t.name for key, t in tensors.items()}, PADDING_KEY: self.padding}

    def _save_best(self, key: str) -> None:
        """The loop's idea of the best starts anew at every resume; ours does not."""
        if self.state.best[key][0] == self.state.iteration:
            self._publish(key, self.save_dir / f"iter_{self.state.iteration}", self.files)

    def _publish(self, key: str, source: Path, files: tuple[str, ...]) -> None:
        names = (*files, STATE_FILE) if key == BEST else (EMA_PARAMETERS,)
        held = (CONFIG,) if (source / CONFIG).is_file() else ()
        if not held:
            (self.save_dir / key / CONFIG).unlink(missing_ok=True)
        snapshot.publish(source, self.save_dir / key, (*held, *names))

    def _info(self, message: str) -> None:
        if "with the best validation mIoU" in message:
            key = EMA_BEST if "EMA" in message else BEST
            iteration, score = self.state.best.get(key, (-1, -1.0))
            kind = "EMA model" if key == EMA_BEST else "model"
            best = f"{self.measure} ({score:.4f})"
            message = f"[EVAL] The {kind} with the best validation {best} was saved at iter {iteration}."
        self.log.info(message)

    def _flops(self, *args: object, **kwargs: object) -> object:
        """The loop counts operations once all is trained and saved; what the counter cannot count is no failure."""
        try:
            return paddle.flops(*args, **kwargs)
        except Exception as error:
            self.log.warning(f"Operations were not counted: {error}")
            return None


def _parameters_of(key: str) -> str:
    return EMA_PARAMETERS if key == EMA_BEST else PARAMETERS


def _initial_seed() -> int:
    """What Paddle was seeded with: --seed, else what it drew itself."""
    return paddle.framework.core.default_cpu_generator().initial_seed()


def _versions() -> dict[str, str]:
    from paddle_hrfamily import __version__

    return {"paddle": paddle.__version__, "paddleseg": paddleseg.__version__, "paddle_hrfamily": __version__}


def _check_writable(save_dir: Path) -> None:
    """PaddleSeg deletes a file that has the folder's name."""
    if save_dir.exists() and not save_dir.is_dir():
        raise UserError(f"--save_dir {save_dir} is a file; name a folder")
    probe = save_dir / ".writable"
    try:
        with replacing(probe, durable=True) as draft:
            draft.touch()
        probe.unlink(missing_ok=True)
    except Unwritable as error:
        raise UserError(f"--save_dir {save_dir} cannot be written: {error.reason}; name another folder") from error
