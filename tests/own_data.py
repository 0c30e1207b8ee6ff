"""The same twelve labelled images in every layout that `hrfamily new` reads."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

NAMES = ("background", "box", "disc")
COLORS = ((0, 0, 0), (200, 30, 30), (30, 30, 200))
COUNT, HEIGHT, WIDTH = 12, 48, 64


def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB image and label map: a box on every one, a disc on every second."""
    drawn = np.random.default_rng(index)
    image = drawn.integers(90, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = drawn.integers(2, 20, 2)
    label[top : top + 16, left : left + 20] = 1
    if index % 2 == 0:
        cv2.circle(label, (46, 32), 10, 2, -1)
    for number, color in enumerate(COLORS[1:], 1):
        image[label == number] = color
    return image, label


PAIRS = [pair(index) for index in range(COUNT)]


def name(index: int) -> str:
    return f"photo {index:02d} é"


def write_image(folder: Path, index: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name(index)}.png"
    Image.fromarray(PAIRS[index][0]).save(path)
    return path


def write_mask(folder: Path, index: int, image: Image.Image, ending: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name(index)}{ending}.png"
    image.save(path)
    return path


def grey(label: np.ndarray) -> Image.Image:
    return Image.fromarray(label)


def palette(label: np.ndarray) -> Image.Image:
    image = Image.fromarray(label)
    image.putpalette([part for color in COLORS for part in color] + [0] * (768 - 9))
    return image


def colored(label: np.ndarray) -> Image.Image:
    return Image.fromarray(np.array(COLORS, np.uint8)[label])


def folders(root: Path, draw: Callable[[np.ndarray], Image.Image] = grey) -> None:
    for index, (_, label) in enumerate(PAIRS):
        write_image(root / "images", index)
        write_mask(root / "masks", index, draw(label))


def beside(root: Path) -> None:
    for index, (_, label) in enumerate(PAIRS):
        write_image(root, index)
        write_mask(root, index, grey(label), "_mask")


def parts(root: Path) -> None:
    """train and val as folders."""
    for index, (_, label) in enumerate(PAIRS):
        part = root / ("val" if index < 3 else "train")
        write_image(part / "images", index)
        write_mask(part / "labels", index, grey(label))


def lists(root: Path) -> None:
    folders(root)
    for split, chosen in (("train", range(3, COUNT)), ("val", range(3))):
        lines = [f"images/{name(index)}.png\tmasks/{name(index)}.png\n" for index in chosen]
        (root / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def voc(root: Path) -> None:
    for index, (_, label) in enumerate(PAIRS):
        write_image(root / "JPEGImages", index)
        write_mask(root / "SegmentationClass", index, palette(label))
    sets = root / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    for split, chosen in (("train", range(3, COUNT)), ("val", range(3))):
        (sets / f"{split}.txt").write_text("".join(f"{name(index)}\n" for index in chosen), encoding="utf-8")


def cvat(root: Path) -> None:
    """CVAT's "Segmentation mask 1.1"."""
    for index, (_, label) in enumerate(PAIRS):
        write_image(root / "JPEGImages", index)
        write_mask(root / "SegmentationClass", index, colored(label))
    lines = [f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in zip(NAMES, COLORS)]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines))


def labelme(root: Path) -> None:
    """Boxes as rectangles and discs as masks."""
    for index, (_, label) in enumerate(PAIRS):
        image = write_image(root, index)
        ys, xs = np.nonzero(label == 1)
        corners = [[int(xs.min()), int(ys.min())], [int(xs.max()), int(ys.max())]]
        shapes = [{"label": "box", "points": corners, "shape_type": "rectangle"}]
        if (label == 2).any():
            ys, xs = np.nonzero(label == 2)
            inside = (label == 2)[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            packed = io.BytesIO()
            Image.fromarray(inside).save(packed, "PNG")
            points = [[int(xs.min()), int(ys.min())], [int(xs.max()), int(ys.max())]]
            mask = base64.b64encode(packed.getvalue()).decode()
            shapes.append({"label": "disc", "points": points, "shape_type": "mask", "mask": mask})
        content = {"version": "5.4.1", "imagePath": image.name, "imageData": None, "shapes": shapes}
        content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        image.with_suffix(".json").write_text(json.dumps(content))


def runs(region: np.ndarray) -> dict[str, object]:
    """COCO's run lengths, not packed: columns first, beginning with 0."""
    flat = region.ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(region.shape), "counts": [int(count) for count in counts]}


def coco(root: Path) -> None:
    images, annotations = [], []
    for index, (_, label) in enumerate(PAIRS):
        path = write_image(root / "images", index)
        images.append({"id": 100 + index, "file_name": path.name, "height": HEIGHT, "width": WIDTH})
        for number in (1, 2):
            if (label == number).any():
                entry = {"id": len(annotations), "image_id": 100 + index, "category_id": 7 * number, "iscrowd": 1}
                annotations.append({**entry, "segmentation": runs(label == number)})
    categories = [{"id": 7 * number, "name": NAMES[number]} for number in (1, 2)]
    (root / "annotations").mkdir(parents=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances.json").write_text(json.dumps(content))


def label_studio(root: Path) -> None:
    """Its PNG export, the images called by their tasks."""
    root.mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(PAIRS):
        Image.fromarray(image).save(root / f"task-{index}.png")
        for number in (1, 2):
            if (label == number).any():
                file = root / f"task-{index}-annotation-{index}-by-1-tag-{NAMES[number]}-0.png"
                Image.fromarray((label == number).astype(np.uint8) * 255).save(file)


# Layout -> what writes it, whether it names the classes itself, and whether it says who validates.
LAYOUTS: dict[str, tuple[Callable[[Path], None], bool, bool]] = {
    "folders, grey": (folders, False, False),
    "folders, palette": (lambda root: folders(root, palette), False, False),
    "beside each other": (beside, False, False),
    "train and val": (parts, False, True),
    "lists": (lists, False, True),
    "VOC": (voc, False, True),
    "CVAT": (cvat, True, False),
    "labelme": (labelme, True, False),
    "COCO": (coco, True, False),
    "Label Studio": (label_studio, True, False),
}


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
