"""ADE20K's training images in two parts, as Specialize and Fuse has them for its ablations (section 5.4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paddle_hrfamily import registry
from paddle_hrfamily.data.paddleseg_classes import ADE20K as CLASSES
from paddle_hrfamily.data.paired_dataset import Pair, PairedDataset

VAL = 4000  # images; the paper: "16K/4K"
_SEED = 0


@registry.dataset(classes=CLASSES)
class ADE20KSplit(PairedDataset):
    """The 20210 training images of ADE20K: 16210 to train on and 4000 for validation. Its own validation is not used.

    Which ones, the paper does not say. Here they are drawn evenly: the first 4000 of the files in the order of their
    names, shuffled by NumPy's RandomState(0).permutation, which is the same everywhere.
    """

    NUM_CLASSES = len(CLASSES)
    relabel = {0: 255, **{label: label - 1 for label in range(1, len(CLASSES) + 1)}}  # noqa: RUF012
    SOURCE = (
        "ADE20K comes from http://sceneparsing.csail.mit.edu/ as ADEChallengeData2016.zip; dataset_root is the folder "
        "ADEChallengeData2016 that holds images/training and annotations/training"
    )

    def find(self, root: Path) -> list[Pair]:
        images = sorted((root / "images" / "training").glob("*.jpg"))
        if len(images) <= VAL:
            raise self.missing(f"{len(images)} images in {root / 'images' / 'training'}, and there are to be 20210")
        order = np.random.RandomState(_SEED).permutation(len(images))
        chosen = sorted(order[:VAL] if self.mode == "val" else order[VAL:])
        labels = root / "annotations" / "training"
        return [(images[index], labels / f"{images[index].stem}.png") for index in chosen]
