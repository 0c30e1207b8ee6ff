"""`StreetScenes`: a PaddleSeg dataset that needs no download, because its street scenes are drawn on first use.

The images are kept in a folder of PaddleSeg's `Dataset` form (`images/`, `labels/`, `train.txt`, `val.txt`), which
appears whole or not at all: it is filled under another name and renamed when complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from paddleseg.datasets import Dataset

from hrfamily_deploy.progress import progress
from paddle_hrfamily import registry
from paddle_hrfamily.data.street_renderer import CLASSES, IGNORE, render_street
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights.fetching import cache_home

# Part of the folder's name: raise it whenever the renderer draws differently.
_EDITION = 1
_SPLITS = ("train", "val")


@registry.dataset(classes=CLASSES)
class StreetScenes(Dataset):
    """Seeded drawings of streets with 8 classes (`street_renderer.CLASSES`), 255 = ignore.

    Args:
        mode: "train" or "val".
        transforms: list of PaddleSeg transforms.
        dataset_root: folder under which the scenes are kept, one sub-folder per choice of the arguments below.
            Default: `$PADDLE_HRFAMILY_HOME/scenes`, else `~/.cache/paddle_hrfamily/scenes`.
        size: width and height in pixels, 32 or more each.
        train, val: how many scenes each split has, 1 or more.
        seed: 0 or more; the same seed draws the same scenes.
        edge: as in PaddleSeg's `Dataset`.

    Raises:
        UserError: an argument is out of its range, or the folder cannot be written.
    """

    NUM_CLASSES = len(CLASSES)
    IMG_CHANNELS = 3
    IGNORE_INDEX = IGNORE

    def __init__(
        self,
        mode: str,
        transforms: list,
        dataset_root: str | None = None,
        size: Sequence[int] = (192, 128),
        train: int = 200,
        val: int = 40,
        seed: int = 0,
        edge: bool = False,
    ) -> None:
        root = Path(dataset_root).expanduser() if dataset_root else cache_home() / "scenes"
        folder = ensure_scenes(root, size=size, train=train, val=val, seed=seed)
        super().__init__(
            mode,
            str(folder),
            transforms,
            num_classes=self.NUM_CLASSES,
            train_path=str(folder / "train.txt"),
            val_path=str(folder / "val.txt"),
            ignore_index=self.IGNORE_INDEX,
            edge=edge,
        )


def ensure_scenes(root: Path, *, size: Sequence[int], train: int, val: int, seed: int) -> Path:
    """The folder with these scenes under `root`; drawn now unless it is there already.

    Raises:
        UserError: an argument is out of its range, or the folder cannot be written.
    """
    _check(size, train, val, seed)
    folder = root / f"street-{size[0]}x{size[1]}-{train}+{val}-seed{seed}-v{_EDITION}"
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
        try:
            _draw(draft, (size[0], size[1]), {"train": train, "val": val}, seed)
            _rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write street scenes to {folder} ({error}); set PADDLE_HRFAMILY_HOME or dataset_root"
        ) from error
    return folder


def _rename(draft: Path, folder: Path) -> None:
    try:
        draft.chmod(0o755)  # mkdtemp makes it private to this user
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process, drawing the same, was faster
            raise


def _draw(folder: Path, size: tuple[int, int], counts: dict[str, int], seed: int) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    jobs = [(split, index) for split in _SPLITS for index in range(counts[split])]

    def one(job: tuple[str, int]) -> None:
        split, index = job
        image, label = render_street(np.random.default_rng([seed, _SPLITS.index(split), index]), size)
        image_name, label_name = _names(split, index)
        _write(folder / image_name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        _write(folder / label_name, label)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(progress(pool.map(one, jobs), "drawing street scenes", len(jobs), unit="scene", leave=False))
    for split in _SPLITS:
        lines = (" ".join(_names(split, index)) + "\n" for index in range(counts[split]))
        (folder / f"{split}.txt").write_text("".join(lines))


def _names(split: str, index: int) -> tuple[str, str]:
    return f"images/{split}_{index:05d}.jpg", f"labels/{split}_{index:05d}.png"


def _write(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"could not write {path}")


def _check(size: Sequence[int], train: int, val: int, seed: int) -> None:
    def whole(value: object, least: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    if isinstance(size, str) or len(size) != 2 or not all(whole(side, 32) for side in size):
        raise UserError(f"StreetScenes: size is {size!r}; give [width, height], 32 pixels or more each")
    for name, value, least in (("train", train, 1), ("val", val, 1), ("seed", seed, 0)):
        if not whole(value, least):
            raise UserError(f"StreetScenes: {name} is {value!r}; give a whole number of {least} or more")
