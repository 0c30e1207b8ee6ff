"""Where training writes its curves and pictures: JSON lines, VisualDL, TensorBoard, Weights & Biases, MLflow.

All have the same names: Train/loss, Train/lr …, Evaluate/loss, Evaluate/mIoU, samples/…
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.files import write_json, write_text

_JSON = "metrics.jsonl"
_RUNS = "trackers.json"  # name -> id of the run there, which a resumed training goes on with


class Tracker(Protocol):
    """One place to write to."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name, of the iteration `step`."""

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """An image (H, W, 3) uint8, RGB."""

    def close(self) -> None:
        """Write what is not yet written."""


class JsonLines:
    """`metrics.jsonl` in the folder: a JSON object a line, {"iteration": …, "Train/loss": …}.

    Lines of iterations beyond `start`, of a run that was killed and is resumed, are taken out.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self.path = folder / _JSON
        kept = []
        if start and self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError):
                    if json.loads(line)["iteration"] <= start:
                        kept.append(line + "\n")
        write_text(self.path, "".join(kept))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": step, **values}) + "\n")

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Not here."""

    def close(self) -> None:
        """All is written."""


class VisualDL:
    """A VisualDL log in the folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], resumed: bool) -> None:
        self.writer = importlib.import_module("visualdl").LogWriter(str(folder))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        self.writer.add_image(name, image, step)

    def close(self) -> None:
        self.writer.close()


class TensorBoard(VisualDL):
    """TensorBoard event files in the folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], resumed: bool) -> None:
        self.writer = _needed("tensorboardX", "tensorboard").SummaryWriter(str(folder))

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")


class WeightsAndBiases:
    """A run of Weights & Biases; its own variables (WANDB_MODE, WANDB_PROJECT …) say where."""

    def __init__(self, folder: Path, config: Mapping[str, Any], resumed: bool) -> None:
        self.wandb = _needed("wandb", "wandb")
        project = os.environ.get("WANDB_PROJECT", "hrfamily")
        self.run = self.wandb.init(
            project=project,
            dir=str(folder),
            config=dict(config),
            id=_run_id(folder, "wandb", resumed),
            resume="allow",
            settings=self.wandb.Settings(silent=True),
        )
        _keep_run_id(folder, "wandb", self.run.id)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        self.run.log({name: self.wandb.Image(image)}, step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow, in MLFLOW_TRACKING_URI, else in the folder `mlruns` of this one."""

    def __init__(self, folder: Path, config: Mapping[str, Any], resumed: bool) -> None:
        self.mlflow = _needed("mlflow", "mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which MLflow 3 refuses otherwise
            self.mlflow.set_tracking_uri((folder / "mlruns").absolute().as_uri())
        if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
            self.mlflow.set_experiment("hrfamily")
        self.run = self.mlflow.start_run(run_id=_run_id(folder, "mlflow", resumed))
        _keep_run_id(folder, "mlflow", self.run.info.run_id)
        self.mlflow.log_dict(json.loads(json.dumps(config, default=str)), "config.json")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        self.mlflow.log_image(image, artifact_file=f"{name}_{step}.png")

    def close(self) -> None:
        self.mlflow.end_run()


# The names that --log takes; VisualDL is --use_vdl as well.
TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], bool], Tracker]] = {
    "visualdl": VisualDL,
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Trackers:
    """All that are asked for, as one, in the process that writes; in others nothing.

    Args:
        folder: of the run.
        names: of TRACKERS.
        config: a `Config.dic`, for those that keep it.
        start: the iteration that training goes on from.

    Raises:
        UserError: a package is missing, or cannot begin; the message names the extra.
    """

    def __init__(
        self, folder: Path, names: list[str], config: Mapping[str, Any], *, start: int, writes: bool = True
    ) -> None:
        self.all: list[Tracker] = []
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.all.append(JsonLines(folder, start))
        for name in dict.fromkeys(names):
            try:
                self.all.append(TRACKERS[name](folder, config, start > 0))
            except UserError:
                raise
            except Exception as error:
                raise UserError(f"--log {name} cannot begin: {str(error).splitlines()[0]}") from error

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self.all:
            tracker.scalars(values, step)

    def pictures(self, images: Mapping[str, np.ndarray], step: int) -> None:
        for tracker in self.all:
            for name, image in images.items():
                tracker.picture(f"samples/{name}", image, step)

    def close(self) -> None:
        for tracker in self.all:
            tracker.close()


def _needed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"--log {extra} needs the package {module}, of an extra: pip install 'paddle_hrfamily[{extra}]' ({error})"
        ) from error


def _run_id(folder: Path, name: str, resumed: bool) -> str | None:
    if not resumed:
        return None
    try:
        return json.loads((folder / _RUNS).read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError):
        return None


def _keep_run_id(folder: Path, name: str, value: str) -> None:
    known = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads((folder / _RUNS).read_text(encoding="utf-8"))
    write_json(folder / _RUNS, {**known, name: value})
