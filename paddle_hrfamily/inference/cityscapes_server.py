"""What Cityscapes' evaluation server takes: a zip of one PNG of labelIds an image.

The server finds the prediction of an image by its name, CITY_SEQUENCE_FRAME*.png (cityscapesScripts,
evaluation/evalPixelLevelSemanticLabeling.py, `getPrediction`), and wants the ids of labelIds files, 8 bits, 2048x1024.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from paddle import distributed

from hrfamily_deploy.files import replacing
from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.data.cityscapes import LABELS, SIZE, image_name
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.inference.label_maps import each_image, say_left_out

Predict = Callable[[np.ndarray], np.ndarray]  # image (H, W, 3), RGB uint8 -> label map (H, W)
FOLDER, ARCHIVE = "cityscapes", "cityscapes.zip"
_IDS = np.array([label.id for label in LABELS], np.uint8)


def check(sources: Sequence[image_files.Source], num_classes: int) -> None:
    """Look at the names before anything is predicted.

    Raises:
        UserError: an image is not called as Cityscapes' are, two are the same one, or the network has other classes.
    """
    if num_classes != len(LABELS):
        raise UserError(
            f"--server cityscapes takes the {len(LABELS)} classes of Cityscapes; this network has {num_classes}"
        )
    seen: dict[str, Path] = {}
    for source in sources:
        other = seen.setdefault(image_name(source.path), source.path)
        if other != source.path:
            raise UserError(f"{other} and {source.path} are one image to the server, which takes each once")


def predict_images(sources: list[image_files.Source], predict: Predict, folder: Path) -> int:
    """Write `folder`/cityscapes/NAME_pred_labelIds.png of each image and all of them in `folder`/cityscapes.zip.

    Returns 1 if some images had to be left out: the server then refuses the archive.

    Raises:
        UserError: none of them can be read.
    """
    done, bad = each_image(sources, lambda source: _predict_one(source, predict, folder / FOLDER))
    if distributed.get_world_size() > 1:
        distributed.barrier()
    if distributed.get_rank() == 0:
        files = [file for source in sources if (file := _file(source, folder / FOLDER)).is_file()]
        with replacing(folder / ARCHIVE) as draft, zipfile.ZipFile(draft, "w") as archive:  # PNGs are compressed
            for file in files:
                archive.write(file, file.name)
        print(f"{len(files)} label maps for the server: {folder / ARCHIVE}")
    return say_left_out(bad, len(done))


def _predict_one(source: image_files.Source, predict: Predict, folder: Path) -> None:
    _file(source, folder).unlink(missing_ok=True)  # an older one must not get into the archive
    image = image_files.decode(source.path)
    if image.shape[:2] != SIZE[::-1]:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise UserError(f"{source.path} is {size}, and the server takes {SIZE[0]}x{SIZE[1]}")
    image_files.write(_file(source, folder), _IDS[predict(image)])


def _file(source: image_files.Source, folder: Path) -> Path:
    return folder / f"{image_name(source.path)}_pred_labelIds.png"
