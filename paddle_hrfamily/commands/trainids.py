"""Make Cityscapes' labelTrainIds, which training takes, from the labelIds of the official download.

    hrfamily trainids data/cityscapes
    hrfamily trainids data/cityscapes --force

Every *_labelIds.png below the folder gets its *_labelTrainIds.png beside it: 19 classes, 255 = ignore.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    import numpy as np

# cityscapesscripts/helpers/labels.py: the id of each of the 19 classes, in the order of their trainIds.
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_IGNORE = 255
_HIGHEST_ID = 33
_BEFORE, _AFTER = "_labelIds.png", "_labelTrainIds.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="the folder of the data set, or any other above the labels")
    parser.add_argument("--force", action="store_true", help="write files again that are there already")


def run(args: argparse.Namespace) -> None:
    """Convert what is not converted yet.

    Raises:
        UserError: no labelIds below the folder, or files that are none; the good ones are written all the same.
    """
    from hrfamily_deploy.progress import progress

    root = Path(args.root).expanduser()
    labels = sorted(root.rglob(f"*{_BEFORE}"))
    if not labels:
        raise UserError(f"no *{_BEFORE} below {root}; unpack gtFine_trainvaltest.zip there")
    waiting = [label for label in labels if args.force or not _beside(label).exists()]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        failures = list(progress(pool.map(_convert, waiting), "converting", len(waiting), unit="label"))
    errors = [failure for failure in failures if failure]
    print(f"{len(waiting) - len(errors)} labels written, {len(labels) - len(waiting)} were there already")
    if errors:
        raise UserError(f"{len(errors)} labels could not be converted:\n  " + "\n  ".join(errors))


def to_train_ids(label: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of labelIds 0..33, 255 standing for the id -1 -> the same of trainIds 0..18, 255 = ignore.

    Raises:
        UserError: other values.
    """
    import numpy as np

    others = np.setdiff1d(np.flatnonzero(np.bincount(label.ravel())), [*range(_HIGHEST_ID + 1), _IGNORE])
    if others.size:
        raise UserError(f"values {others[:8].tolist()} are no labelIds, which are 0..{_HIGHEST_ID}")
    table = np.full(256, _IGNORE, np.uint8)
    table[list(_IDS)] = np.arange(len(_IDS))
    return table[label]


def _beside(label: Path) -> Path:
    return label.with_name(label.name.replace(_BEFORE, _AFTER))


def _convert(label: Path) -> str | None:
    """Returns what went wrong."""
    import numpy as np
    from PIL import Image

    from hrfamily_deploy.imaging import image_files

    try:
        with Image.open(label) as opened:
            if opened.mode not in ("L", "P"):
                return f"{label}: mode {opened.mode}; labelIds are 8-bit grey"
            pixels = np.asarray(opened)
        image_files.write(_beside(label), to_train_ids(pixels))
    except (OSError, SyntaxError, UserError) as error:
        return f"{label}: {error}"
    return None
