"""Lists of pairs, as PaddleSeg takes them: train.txt, val.txt and test.txt with "image label" a line."""

from __future__ import annotations

from pathlib import Path

from paddle_hrfamily.data.importing import class_files, masks
from paddle_hrfamily.data.importing.source import SPLITS, Answers, Item, Source
from paddle_hrfamily.errors import UserError

NAME = "lists"


def find(root: Path, answers: Answers) -> Source | None:
    """None where no list is there, or none is of pairs."""
    lists = {split: root / f"{split}.txt" for split in SPLITS if (root / f"{split}.txt").is_file()}
    pairs = [(split, *pair) for split, file in lists.items() for pair in _pairs(file)]
    if not pairs:
        return None
    for split, image, label in pairs:
        for path in (image, label):
            if not path.is_file():
                raise UserError(
                    f"{lists[split]}: lists {path}, which does not exist; put it there or take the line out"
                )
    census = masks.census(list(dict.fromkeys(label for _, _, label in pairs)))
    coding = masks.coding(census, answers, class_files.find(root))
    items = tuple(Item(image, masks.Mask(label, coding), split) for split, image, label in pairs)
    return Source("lists of pairs", items, coding.names, coding.colors, coding.relabel, coding.notes)


def _pairs(file: Path) -> list[tuple[Path, Path]]:
    """Of a list whose every line has two paths, between which a tab or blanks stand; else none."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        parts = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        if len(parts) != 2:
            return []
        found.append((file.parent / parts[0].strip(), file.parent / parts[1].strip()))
    return found
