"""Synapse multi-organ CT as TransUNet prepared it: slices to train on, volumes to evaluate on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from paddle.io import Dataset
from paddleseg.transforms import Compose

from paddle_hrfamily import registry
from paddle_hrfamily.data.classes import on_background
from paddle_hrfamily.data.paired_dataset import Sample, Task, check_mode, first_there, listed
from paddle_hrfamily.errors import UserError

SOURCE = (
    "The scans come from https://www.synapse.org/#!Synapse:syn3193805; https://github.com/Beckschen/TransUNet "
    "(datasets/README.md) prepares them; dataset_root holds train_npz/, test_vol_h5/ and, if need be, lists_Synapse/"
)
_FOLDERS = {"train": "train_npz", "val": "test_vol_h5"}
_LISTS = {"train": "train.txt", "val": "test_vol.txt"}
_SUFFIXES = {"train": (".npz",), "val": (".npy.h5", ".h5", ".npz")}


# The eight organs that TransUNet keeps of the thirteen, in its order.
CLASSES = on_background("aorta, gallbladder, left kidney, right kidney, liver, pancreas, spleen, stomach")


@registry.dataset(classes=CLASSES)
class Synapse(Dataset):
    """Abdominal CT of 30 people: background and eight organs; 18 people train (2211 slices), 12 are volumes to test.

    A file holds `image`, CT numbers of -125 to 275 brought to 0..1, and `label`: (H, W) in `train_npz/*.npz`,
    (D, H, W) in `test_vol_h5/*.npy.h5`. A sample is one slice, its grey value three times over in 0..255, so that
    transforms and pretrained weights fit.

    The organs' numbers are those of TransUNet's own files: aorta, gallbladder, left and right kidney, liver, pancreas,
    spleen, stomach. Files that another script has made may count otherwise: name them by the config's `class_names`.

    Args:
        mode: "train", or "val" for the test volumes, slice after slice.
        transforms: list of PaddleSeg transforms.
        dataset_root: the folder.
        spacing: millimetres between slices, rows and columns. Left open, what the volume's file says in an attribute
            or array `spacing`, else 1, 1, 1: the published distances are in pixels, for the prepared files tell none.
        edge: as in PaddleSeg's `Dataset`, and always false here.

    Raises:
        UserError: something is missing, or h5py is, which reads .h5 files.
    """

    task: Task = "volumes"
    NUM_CLASSES = len(CLASSES)
    IGNORE_INDEX = 255
    IMG_CHANNELS = 3

    def __init__(
        self,
        mode: str,
        transforms: list,
        dataset_root: str,
        spacing: Sequence[float] | None = None,
        edge: bool = False,
    ) -> None:
        super().__init__()
        if edge:
            raise UserError("Synapse: edge is true, and edges of organs are not made; leave it out")
        if spacing is not None and (len(spacing) != 3 or not all(step > 0 for step in spacing)):
            raise UserError(f"Synapse: spacing is {spacing}; give millimetres between slices, rows and columns")
        self.mode = check_mode("Synapse", mode, tuple(_FOLDERS))
        self.dataset_root = dataset_root
        self.num_classes = self.NUM_CLASSES
        self.ignore_index = self.IGNORE_INDEX
        self.spacing = spacing
        self.transforms = Compose(transforms, img_channels=self.IMG_CHANNELS)
        self.cases = self._find(Path(dataset_root).expanduser())
        self.file_list = [[str(file), None] for file in self.cases]
        depths = [1 if mode == "train" else _depth(file) for file in self.cases]
        self.volumes = np.split(np.arange(sum(depths)), np.cumsum(depths)[:-1])  # the samples of each case
        self.slices = [(case, z) for case, depth in enumerate(depths) for z in range(depth)]

    def _find(self, root: Path) -> list[Path]:
        folder = root / _FOLDERS[self.mode]
        if not folder.is_dir():
            raise UserError(f"Synapse ({self.mode}): {folder.absolute()} does not exist. {SOURCE}")
        names = first_there((root / "lists_Synapse" / _LISTS[self.mode], root / _LISTS[self.mode]))
        if names is None:
            files = sorted(file for file in folder.iterdir() if file.name.endswith(_SUFFIXES[self.mode]))
        else:
            files = [self._file(folder, stem) for (stem,) in listed(names, columns=1)]
        if not files:
            raise UserError(f"Synapse ({self.mode}): no {' or '.join(_SUFFIXES[self.mode])} in {folder}. {SOURCE}")
        return files

    def _file(self, folder: Path, stem: str) -> Path:
        found = first_there(folder / f"{stem}{suffix}" for suffix in _SUFFIXES[self.mode])
        if found is None:
            raise UserError(f"Synapse ({self.mode}): no {folder / stem}{_SUFFIXES[self.mode][0]}. {SOURCE}")
        return found

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Sample:
        case, z = self.slices[index]
        with _arrays(self.cases[case]) as arrays:
            image, label = (arrays[key] if self.mode == "train" else arrays[key][z] for key in ("image", "label"))
        grey = np.clip(np.asarray(image, np.float32) * 255, 0, 255)
        data: Sample = {"img": np.repeat(grey[..., np.newaxis], 3, axis=2), "label": np.asarray(label, np.uint8)}
        data |= {"trans_info": [], "gt_fields": ["label"] if self.mode == "train" else []}
        data = self.transforms(data)
        if self.mode == "val":
            data["label"] = data["label"][np.newaxis]
        return data

    def examine(self, file: str, _: None) -> Iterator[str]:
        """Yield what is wrong with a file, as text."""
        try:
            with _arrays(Path(file)) as arrays:
                image, label = np.asarray(arrays["image"]), np.asarray(arrays["label"])
        except (OSError, KeyError, ValueError) as error:
            yield f"cannot be read ({error})"
            return
        dimensions = 2 if self.mode == "train" else 3
        if image.shape != label.shape or image.ndim != dimensions:
            yield f"has an image of shape {image.shape} and a label of {label.shape}, not {dimensions} equal extents"
        elif dimensions == 3 and image.shape[0] == image.shape[1] != image.shape[2]:
            yield f"has its slices along the last axis of {image.shape}; they must lie along the first"
        elif image.min() < -0.01 or image.max() > 1.01:
            yield f"has an image of {image.min():g} to {image.max():g}; clip CT numbers to -125..275, map them to 0..1"
        elif label.min() < 0 or label.max() >= self.num_classes:
            yield f"has labels of {label.min():g} to {label.max():g}; map the thirteen organs to the eight, 1 to 8"

    def spacing_of(self, case: int) -> tuple[float, float, float]:
        """Millimetres (or pixels, see `spacing`) between a case's slices, rows and columns."""
        if self.spacing is not None:
            return _three(self.spacing)
        with _arrays(self.cases[case]) as arrays:
            found = getattr(arrays, "attrs", {}).get("spacing")
            if found is None and "spacing" in arrays:
                found = np.asarray(arrays["spacing"])
        return (1.0, 1.0, 1.0) if found is None else _three(found)


def _three(numbers: Iterable[float]) -> tuple[float, float, float]:
    slices, rows, columns = map(float, numbers)
    return slices, rows, columns


@contextmanager
def _arrays(file: Path) -> Iterator[Any]:
    """The file's arrays by name. What is stored by pickle is not read."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
        return
    try:
        import h5py
    except ModuleNotFoundError:
        raise UserError(f"{file} needs h5py: pip install 'paddle_hrfamily[medical]'") from None
    with h5py.File(file, "r") as arrays:
        yield arrays


def _depth(file: Path) -> int:
    with _arrays(file) as arrays:
        if "label" not in arrays:
            raise UserError(f"{file} has no array label. {SOURCE}")
        return len(arrays["label"])
