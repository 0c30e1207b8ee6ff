"""PASCAL VOC's folders, which many tools write as well: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from __future__ import annotations

from pathlib import Path

from paddle_hrfamily.data.importing.layouts import parallel
from paddle_hrfamily.data.importing.source import SPLITS, Answers, Images, Source
from paddle_hrfamily.errors import UserError

NAME = "voc"
_LABELS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug")


def find(root: Path, answers: Answers) -> Source | None:
    """None where the folders are not there. Also one level down, as in VOCdevkit/VOC2012."""
    for folder in (root, *sorted(path for path in root.glob("*") if path.is_dir()), *sorted(root.glob("*/VOC*"))):
        names = [name for name in _LABELS if (folder / name).is_dir()]
        if names and (folder / "JPEGImages").is_dir():
            return _read(folder, names[0], answers)
    return None


def _read(root: Path, labels: str, answers: Answers) -> Source:
    images: dict[parallel.Key, Path] = {((), path.stem): path for path in Images.below(root / "JPEGImages").files}
    masks: dict[parallel.Key, Path] = {((), path.stem): path for path in Images.below(root / labels).files}
    source = parallel.read(root, images, masks, answers, f"VOC ({labels})")
    members = _members(root)
    if not members:
        return source
    absent = sorted(set(members) - {path.stem for path in images.values()})
    if absent:
        raise UserError(f"{root / 'ImageSets/Segmentation'}: lists {absent[0]}, which JPEGImages does not have")
    items = tuple(
        type(item)(item.image, item.label, members.get(item.image.stem))
        for item in source.items
        if item.image.stem in members
    )
    return Source(source.layout, items, source.names, source.colors, source.relabel, source.notes)


def _members(root: Path) -> dict[str, str | None]:
    """The names that the lists hold, with the split of each; `default.txt`, as CVAT writes it, has none."""
    folder = root / "ImageSets" / "Segmentation"
    found: dict[str, str | None] = {}
    for split in ("default", "trainval", *SPLITS):
        file = folder / f"{split}.txt"
        if file.is_file():
            for line in filter(None, map(str.strip, file.read_text(encoding="utf-8").splitlines())):
                found[Path(line).stem] = split if split in SPLITS else None
    return found
