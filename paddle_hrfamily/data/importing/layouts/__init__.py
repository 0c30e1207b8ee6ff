"""The layouts that a data set may lie in: a module each, with NAME and `find(root, answers)`."""

from __future__ import annotations

from pathlib import Path

from paddle_hrfamily.data.importing.layouts import cityscapes, coco, label_studio, labelme, lists, parallel, voc
from paddle_hrfamily.data.importing.source import Answers, Question, Source
from paddle_hrfamily.errors import UserError, unknown

# Those that are told by their own files; folders beside each other are looked for where none of these is there.
LAYOUTS = {module.NAME: module for module in (cityscapes, lists, voc, labelme, coco, label_studio)}


def find(root: Path, answers: Answers) -> Source:
    """The data set below a folder.

    Raises:
        Question: it can be read in more than one way.
        UserError: there is none, or something in it is wrong.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is no folder; name the one that holds the images and their labels")
    everything = {**LAYOUTS, parallel.NAME: parallel}
    if answers.layout is not None:
        if answers.layout not in everything:
            raise unknown("layout", answers.layout, everything)
        source = everything[answers.layout].find(root, answers)
        if source is None:
            raise UserError(
                f"{root}: holds no data set in the layout {answers.layout}; leave out --layout to see what does"
            )
        return source
    found = {name: source for name, module in LAYOUTS.items() if (source := module.find(root, answers)) is not None}
    if len(found) > 1:
        ways = " or ".join(f"--layout {name}" for name in found)
        raise Question(f"{root} can be read as {' and as '.join(s.layout for s in found.values())}", ways)
    source = next(iter(found.values()), None) or parallel.find(root, answers)
    if source is None:
        raise UserError(
            f"{root}: no images with labels: neither masks in a folder called masks or labels, nor VOC, Cityscapes, "
            "labelme, COCO, CVAT, Label Studio or lists of pairs; README shows each"
        )
    return source
