"""A data set, a config and a network so small that a real training process takes seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ("sky", "road", "car")


def dataset(folder: Path, count: int = 7) -> Path:
    """`count` images of 48×40 with three classes and some ignored pixels. Returns the list file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    lines = []
    for index in range(count):
        label = np.zeros((40, 48), np.uint8)
        label[rng.randint(10, 30) :] = 1
        left = rng.randint(5, 40)
        label[5:20, left : left + 8] = 2
        label[0, :3] = 255
        image = np.stack([label * 80 + 20] * 3, -1) + rng.randint(0, 40, (40, 48, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.jpg")
        Image.fromarray(label).save(folder / f"{index}.png")
        lines.append(f"{index}.jpg {index}.png\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder / "list.txt"


def content(folder: Path) -> dict[str, Any]:
    """A config as a dictionary: random augmentation, and FastSCNN, which has dropout and two outputs."""
    common = {"type": "Dataset", "dataset_root": str(folder), "num_classes": len(CLASSES)}
    augmentation = [
        {"type": "ResizeStepScaling", "min_scale_factor": 0.5, "max_scale_factor": 2.0, "scale_step_size": 0.25},
        {"type": "RandomPaddingCrop", "crop_size": [32, 32]},
        {"type": "RandomHorizontalFlip"},
        {"type": "RandomDistort", "brightness_range": 0.4, "contrast_range": 0.4, "saturation_range": 0.4},
        {"type": "Normalize"},
    ]
    path = str(folder / "list.txt")
    return {
        "batch_size": 2,
        "iters": 12,
        "class_names": list(CLASSES),
        "train_dataset": {**common, "mode": "train", "train_path": path, "transforms": augmentation},
        "val_dataset": {**common, "mode": "val", "val_path": path, "transforms": [{"type": "Normalize"}]},
        "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 4.0e-5},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01, "end_lr": 0, "power": 0.9},
        "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1, 0.4]},
        "model": {"type": "FastSCNN", "num_classes": len(CLASSES)},
    }


def config(folder: Path, **changes: Any) -> Path:
    """The data set and its config, with top-level keys replaced by `changes`, written. Returns the config's path."""
    dataset(folder / "data")
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({**content(folder / "data"), **changes}))
    return path


def environment() -> dict[str, str]:
    """The environment of a child process that finds the package, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def command(*arguments: object) -> list[str]:
    """The command line of `hrfamily ARGUMENTS`."""
    return [sys.executable, "-m", "paddle_hrfamily", *map(str, arguments)]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `hrfamily ARGUMENTS` to its end, output captured."""
    return subprocess.run(
        command(*arguments), env=environment(), cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def losses(log: str) -> dict[int, str]:
    """Iteration -> loss, as printed, from PaddleSeg's log lines."""
    return {int(iteration): loss for iteration, loss in re.findall(r"iter: (\d+)/\d+, loss: (\S+),", log)}
