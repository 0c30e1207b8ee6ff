"""Images and masks in folders beside each other, or beside each other in one folder: `images/a.jpg`, `masks/a.png`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from paddle_hrfamily.data.importing import class_files, masks
from paddle_hrfamily.data.importing.source import Answers, Images, Item, Question, Source, split_of
from paddle_hrfamily.errors import UserError

NAME = "folders"
IMAGE_FOLDERS = {
    *("image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures", "rgb", "frames"),
    *("input", "inputs", "data"),
}
MASK_FOLDERS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "gt", "groundtruth", "ground_truth"),
    *("segmentation", "segmentations", "segmentationclass", "target", "targets", "labels_png", "seg"),
}
MASK_ENDINGS = ("_mask", "-mask", "_masks", "_label", "_labels", "-label", "_seg", "_segmentation", "_gt", "_L")
Key = tuple[tuple[str, ...], str]


def find(root: Path, answers: Answers) -> Source | None:
    """None where there are no pairs."""
    files = Images.below(root).files
    images, labels = _sorted_out(root, files)
    if not labels or not images:
        return None
    return read(root, images, labels, answers, "images and masks in parallel folders")


def read(root: Path, images: dict[Key, Path], labels: dict[Key, Path], answers: Answers, layout: str) -> Source:
    """The source of images and masks by what pairs them."""
    paired = {key: labels[key] for key in images if key in labels}
    if not paired:
        image, label = next(iter(images.values())), next(iter(labels.values()))
        raise UserError(
            f"{root}: no mask is called as its image is, such as {image.name} and {label.name}; give both one name, or "
            f"the mask an ending of {', '.join(MASK_ENDINGS[:4])}"
        )
    alone = sorted(set(labels) - set(images))
    notes = [f"{len(alone)} masks have no image, such as {labels[alone[0]]}"] if alone else []
    coding = masks.coding(masks.census(list(paired.values())), answers, class_files.find(root))
    items = tuple(
        Item(path, masks.Mask(paired[key], coding) if key in paired else None, split_of(path.relative_to(root).parent))
        for key, path in images.items()
    )
    return Source(layout, items, coding.names, coding.colors, coding.relabel, (*notes, *coding.notes))


def _sorted_out(root: Path, files: tuple[Path, ...]) -> tuple[dict[Key, Path], dict[Key, Path]]:
    """Images and masks by what pairs them: the folders that name neither, and the name without its ending."""
    images: dict[Key, Path] = {}
    labels: dict[Key, Path] = {}
    undecided: dict[Key, list[Path]] = defaultdict(list)
    for path in files:
        relative = path.relative_to(root)
        words = [part.lower() for part in relative.parts[:-1]]
        folders = tuple(word for word in words if word not in IMAGE_FOLDERS | MASK_FOLDERS)
        kinds = {"mask" if word in MASK_FOLDERS else "image" for word in words if word in IMAGE_FOLDERS | MASK_FOLDERS}
        stem = path.stem
        ending = next((end for end in MASK_ENDINGS if stem.endswith(end)), "")
        if kinds == {"mask"} or (ending and "image" not in kinds):
            _put(labels, (folders, stem.removesuffix(ending)), path, "--layout or one folder of masks")
        elif kinds == {"image"}:
            _put(images, (folders, stem), path, "one folder of images")
        else:
            undecided[folders, stem].append(path)
    for key, paths in undecided.items():
        photographs = [path for path in paths if path.suffix.lower() in (".jpg", ".jpeg")]
        if len(paths) == 2 and len(photographs) == 1:  # a.jpg beside a.png
            images[key] = photographs[0]
            labels[key] = next(path for path in paths if path not in photographs)
        elif len(paths) == 1:
            images.setdefault(key, paths[0])
    return images, labels


def _put(found: dict[Key, Path], key: Key, path: Path, way_out: str) -> None:
    if key in found:
        raise Question(f"{found[key]} and {path} belong to the same image or are the same twice", way_out)
    found[key] = path
