"""Parts of people: LIP and PASCAL-Person-Part."""

from __future__ import annotations

from pathlib import Path

from paddle_hrfamily import registry
from paddle_hrfamily.data.classes import on_background
from paddle_hrfamily.data.paired_dataset import Pair, PairedDataset, first_there, listed

LIP_CLASSES = on_background(
    "hat, hair, glove, sunglasses, upper clothes, dress, coat, socks, trousers, jumpsuit, scarf, skirt, face, "
    "left arm, right arm, left leg, right leg, left shoe, right shoe"
)
PERSON_PART_CLASSES = on_background("head, torso, upper arms, lower arms, upper legs, lower legs")


@registry.dataset(classes=LIP_CLASSES)
class LIP(PairedDataset):
    """Look into Person: 30462 training and 10000 validation images of one person each, 19 parts and background.

    Some classes are left or right: `RandomMirror` swaps them where PaddleSeg's RandomHorizontalFlip would not;
    evaluation and prediction with flipping swap them back. The archives may be unpacked into folders of their own name
    or not.
    """

    NUM_CLASSES = len(LIP_CLASSES)
    mirrored = ((14, 15), (16, 17), (18, 19))  # arms, legs, shoes
    SOURCE = (
        "LIP comes from https://sysuhcp.github.io/lip/ (single person): unpack TrainVal_images.zip and "
        "TrainVal_parsing_annotations.zip side by side into dataset_root"
    )

    def find(self, root: Path) -> list[Pair]:
        images = self._inside(root, "TrainVal_images", f"{self.mode}_images")
        labels = self._inside(root, "TrainVal_parsing_annotations", f"{self.mode}_segmentations")
        pairs = [(image, labels / f"{image.stem}.png") for image in sorted(images.glob("*.jpg"))]
        if not pairs:
            raise self.missing(f"no images in {images}")
        return pairs

    def _inside(self, root: Path, archive: str, folder: str) -> Path:
        places = (root / archive / folder, root / archive / archive / folder, root / folder)
        found = first_there(places)
        if found is None:
            raise self.missing(f"no {places[0]}")
        return found


@registry.dataset(classes=PERSON_PART_CLASSES)
class PascalPersonPart(PairedDataset):
    """1716 training and 1817 validation images of PASCAL VOC 2010: head, torso, upper and lower arms and legs."""

    NUM_CLASSES = len(PERSON_PART_CLASSES)
    MODES = ("train", "val", "trainval")
    SOURCE = (
        "The labels are pascal_person_part.zip of http://liangchiehchen.com/projects/DeepLab.html "
        "(pascal_person_part_gt/ and pascal_person_part_trainval_list/), the images are JPEGImages/ of VOC 2010, "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2010; dataset_root holds all three folders"
    )

    def find(self, root: Path) -> list[Pair]:
        top = root / "pascal_person_part" if (root / "pascal_person_part").is_dir() else root
        names = (f"{self.mode}_id.txt", f"{self.mode}.txt")
        places = [top / "pascal_person_part_trainval_list" / name for name in names] + [root / name for name in names]
        file = first_there(places)
        images = first_there((root / "JPEGImages", top / "JPEGImages"))
        if file is None or images is None:
            raise self.missing(f"no {places[0] if file is None else root / 'JPEGImages'}")
        stems = [Path(line[0]).stem for line in listed(file, columns=1)]  # an id, or the image's path
        return [(images / f"{stem}.jpg", top / "pascal_person_part_gt" / f"{stem}.png") for stem in stems]
