"""NYU Depth V2: an image and, for each of its pixels, metres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from paddleseg.utils import logger

from hrfamily_deploy.colors import palette
from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Pair, PairedDataset, Sample, Task, listed
from paddle_hrfamily.errors import UserError

_MILLIMETRES = 1000.0


@registry.dataset(classes={"depth in metres": palette(1)[0]})
class NYUv2Depth(PairedDataset):
    """Indoor images with depth maps of 16-bit millimetres, 0 where nothing was measured.

    A sample's label is float32 metres: (H, W) in training, (1, H, W) in evaluation.

    Args:
        mode, transforms, edge: as in PairedDataset; "train" or "val".
        dataset_root: the folder. With a list, its paths start there; without, all of rgb/ and depth_mm/ is used,
            where both files of a pair have one name.
        train_path, val_path: the list of the mode; default: train.txt or val.txt in the folder, if there. A line is
            "image depth", further columns and a leading / are left alone: BTS's lists of NYUD-Small and NYUD-Large
            (24231 pairs) are read as they are.
        max_depth: metres; evaluation leaves out what is farther.
        eigen_crop: evaluate rows 45 to 471 and columns 41 to 601 of 480x640, as the paper; other sizes in proportion.

    Raises:
        UserError: something is missing.
    """

    task: Task = "depth"
    NUM_CLASSES = 1
    IGNORE_INDEX = 0  # metres: not measured
    SOURCE = (
        "NYU Depth V2 comes from https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html (the labelled data set and "
        "its split); https://github.com/cleinc/bts has scripts that write it as images and 16-bit millimetres, with "
        "lists, and the larger training set; dataset_root holds rgb/ and depth_mm/ with files of the same names, or "
        "train_path and val_path list the pairs"
    )

    def __init__(
        self,
        mode: str,
        transforms: list,
        dataset_root: str,
        train_path: str | None = None,
        val_path: str | None = None,
        max_depth: float = 10.0,
        eigen_crop: bool = True,
        edge: bool = False,
    ) -> None:
        if edge:
            raise UserError("NYUv2Depth: edge is true, and depth maps have no edges of classes; leave it out")
        self.max_depth = max_depth
        self.eigen_crop = eigen_crop
        self.list_path = {"train": train_path, "val": val_path}.get(mode)
        super().__init__(mode, transforms, dataset_root)

    def find(self, root: Path) -> Iterator[Pair]:
        file = Path(self.list_path) if self.list_path else root / f"{self.mode}.txt"
        if file.is_file():
            return ((root / image.lstrip("/"), root / depth.lstrip("/")) for image, depth in listed(file))
        if self.list_path:
            raise self.missing(f"{self.mode}_path {file.absolute()} does not exist")
        return self._folders(root)

    def _folders(self, root: Path) -> Iterator[Pair]:
        images = sorted(file for file in (root / "rgb").glob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
        if not images:
            raise self.missing(f"neither {root / f'{self.mode}.txt'} nor images in {root / 'rgb'}")
        logger.warning(f"NYUv2Depth ({self.mode}): no {root / f'{self.mode}.txt'}, so all {len(images)} pairs are used")
        return ((image, root / "depth_mm" / f"{image.stem}.png") for image in images)

    def __getitem__(self, index: int) -> Sample:
        image, depth = self.file_list[index]
        data: Sample = {"img": image, "label": read_metres(depth), "trans_info": [], "gt_fields": []}
        if self.mode == "train":
            data["gt_fields"].append("label")
        data = self.transforms(data)
        data["label"] = np.ascontiguousarray(data["label"], np.float32)
        if self.mode == "val":
            data["label"] = data["label"][np.newaxis]
        return data

    def examine(self, image: str, depth: str) -> Iterator[str]:
        """Yield what is wrong with a pair of files, as text."""
        pixels = cv2.imread(image)
        millimetres = cv2.imread(depth, cv2.IMREAD_UNCHANGED)
        if pixels is None or millimetres is None:
            yield "cannot be read"
        elif millimetres.ndim != 2 or millimetres.dtype != np.uint16:
            yield f"is no 16-bit grey image of millimetres ({millimetres.dtype}, shape {millimetres.shape})"
        elif millimetres.shape != pixels.shape[:2]:
            yield "is {1}x{0}, its image {3}x{2}".format(*millimetres.shape, *pixels.shape)
        elif not ((millimetres > 0) & (millimetres <= self.max_depth * _MILLIMETRES)).any():
            yield f"has no pixel of 1 to {self.max_depth * _MILLIMETRES:.0f} millimetres"


def read_metres(path: str) -> np.ndarray:
    """A 16-bit image of millimetres as (H, W) float32 metres.

    Raises:
        UserError: no such image.
    """
    millimetres = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if millimetres is None or millimetres.ndim != 2 or millimetres.dtype != np.uint16:
        raise UserError(f"{path} is no 16-bit grey image of millimetres")
    return millimetres.astype(np.float32) / _MILLIMETRES
