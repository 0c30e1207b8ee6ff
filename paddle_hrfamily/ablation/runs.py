"""One row with one seed: `hrfamily train`, then `hrfamily val`, as child processes; its folder tells how far it is.

SAVE_DIR/SUITE/ROW/config.yml         the row's whole config: runs of another are not mixed with these
                   seed_0/          what training writes, its checkpoint among it
                          log.txt   what both processes said
                          result.json  written last: a run that has it is done
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import paddle
import yaml
from paddleseg.cvlibs import Config

from paddle_hrfamily.checkpointing import snapshot
from paddle_hrfamily.complexity import trainable_parameters
from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import write_json, write_text
from paddle_hrfamily.integration import config_file
from paddle_hrfamily.integration.model_loading import leave_pretrained
from paddle_hrfamily.training import class_balance
from paddle_hrfamily.visualization.curves import TRAINING_LOSS, read_curve

RESULT, SCORES, LOG, CONFIG = "result.json", "scores.json", "log.txt", "config.yml"
_PROMPT = "$ hrfamily "  # what a process's part of the log begins with
_PATIENCE = 10  # seconds that a child process has to end
TAIL = 0.1  # the part of training, at its end, whose mean is called the final loss


class Failed(Exception):
    """A row or a run that did not come to a result; the message says why and where its log is."""


@dataclass(frozen=True)
class Children:
    """How the child processes are run: flags of `hrfamily train` that do not change what a row is."""

    device: str = "gpu"
    num_workers: int = 0
    save_interval: int = 100
    plugins: tuple[str, ...] = ()  # files or modules that register components
    inherited: tuple[int, ...] = ()  # file descriptors, those of the lock

    def run(self, log: Path, *arguments: object) -> None:
        """Run `hrfamily ARGUMENTS` to its end, adding its output to `log`. On Ctrl-C it is ended before this is.

        Raises:
            Failed: it ended with another status than 0.
        """
        line = [sys.executable, "-m", "paddle_hrfamily", *map(str, arguments)]
        with log.open("a", encoding="utf-8") as output:
            output.write(f"{_PROMPT}{' '.join(map(str, arguments))}\n")
            output.flush()
            process = subprocess.Popen(line, stdout=output, stderr=subprocess.STDOUT, pass_fds=self.inherited)
            try:
                status = process.wait()
            finally:
                if process.poll() is None:
                    _end(process)
        if status:
            raise Failed(f"hrfamily {arguments[0]}: {_reason(log)} (status {status}, {log})")


def _end(process: subprocess.Popen) -> None:
    """Terminate the process, and kill it if it does not end: Paddle's handler of the signal can lock itself up."""
    process.terminate()
    try:
        process.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()  # checkpoints survive that
        process.wait()


def check_same(folder: Path, config: dict[str, Any]) -> None:
    """Raises Failed, with the first keys that differ, if the folder belongs to a row with another config."""
    file = folder / CONFIG
    if not file.exists():
        return
    before, now = _leaves(yaml.safe_load(file.read_text(encoding="utf-8"))), _leaves(config_file.plain(config))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        shown = ", ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed[:3])
        raise Failed(f"{folder} holds runs of another definition: {shown}; name another --save_dir, or remove it")


def parameters(config: Config) -> int:
    """Trainable values of the row's network, auxiliary heads included; only its shapes are made.

    Raises:
        Failed: the network, or what trains it, cannot be built.
    """
    config = copy.deepcopy(config)
    leave_pretrained(config.dic["model"])
    builder = config_file.builder(config)
    try:
        # Weights by the labels, which are not counted here: those of classes that are as frequent as each other.
        class_balance.resolve_weights(config.dic, lambda: np.ones((1, len(class_table(config.dic)))))
        with contextlib.redirect_stdout(io.StringIO()), paddle.LazyGuard():
            _ = builder.loss, builder.lr_scheduler
            return trainable_parameters(builder.model)
    except Exception as error:  # whatever it is, it is this row's, and the others can go on
        raise Failed(f"it cannot be built: {error}") from error


def results(folder: Path) -> list[dict[str, Any]]:
    """The results of a row's finished runs, by seed."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob(f"seed_*/{RESULT}")]
    return sorted(found, key=lambda result: result["seed"])


def run(row: Path, config: Config, seed: int, children: Children) -> dict[str, Any]:
    """Train from where the last attempt's newest whole checkpoint is, evaluate, write the result and return it.

    Args:
        row: the folder of the row, whose config is written there if it is not yet.

    Raises:
        Failed: one of the two processes failed.
    """
    file, folder = row / CONFIG, row / f"seed_{seed}"
    if not file.exists():
        write_text(file, yaml.safe_dump(config_file.resolved(config), sort_keys=False))
    folder.mkdir(exist_ok=True)
    plugins = [argument for plugin in children.plugins for argument in ("--plugin", plugin)]
    common = ("--config", file, "--device", children.device, "--num_workers", children.num_workers, *plugins)
    training = ("--save_dir", folder, "--resume_model", "latest", "--seed", seed, "--use_vdl")
    saving = ("--save_interval", children.save_interval, "--keep_checkpoint_max", 1)
    often = max(1, min(10, config.iters // 20))  # so that the last tenth has log lines
    children.run(folder / LOG, "train", *common, *training, *saving, "--log_iters", often)
    weights = folder / f"iter_{config.iters}" / snapshot.PARAMETERS
    children.run(folder / LOG, "val", *common, "--model_path", weights, "--json", folder / SCORES)
    scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    content = {
        "seed": seed,
        "iterations": config.iters,
        "loss": _final_loss(folder, config.iters),
        **{key: scores[key] for key in ("miou", "pixel_accuracy", "mean_accuracy", "images", "versions")},
        "class_iou": {entry["name"]: entry["iou"] if entry["share"] else None for entry in scores["classes"]},
    }
    write_json(folder / RESULT, content)
    return content


def _final_loss(folder: Path, iters: int) -> float:
    curve = read_curve(folder, TRAINING_LOSS)
    return statistics.fmean(value for step, value in curve.items() if step > iters * (1 - TAIL))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[tuple[int, ...]]:
    """Hold the folder's lock; yields what child processes must inherit to hold it too, should this one be killed.

    Raises:
        UserError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield ()
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{folder} is in use by another hrfamily ablate, or a training that it left") from error
        yield (file.fileno(),)


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that no child process is left behind."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leaves(node: Any, where: str = "") -> dict[str, Any]:
    """{"train_dataset.transforms.1.type": …}; empty lists and mappings are leaves as well."""
    if not isinstance(node, (dict, list)) or not node:
        return {where: node}
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found: dict[str, Any] = {}
    for key, value in items:
        found.update(_leaves(value, f"{where}.{key}" if where else str(key)))
    return found


def _reason(log: Path) -> str:
    """The last process's line that says what is wrong: our own `error: …`, else the end of a traceback."""
    *_, last = log.read_text(encoding="utf-8", errors="replace").split(_PROMPT)
    lines = [line.strip() for line in last.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
