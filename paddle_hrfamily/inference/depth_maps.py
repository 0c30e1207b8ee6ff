"""What `predict` writes for a network of depth: millimetres to compute with, and colours to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.inference.label_maps import each_image, say_left_out

COLORS, MILLIMETRES = "depth_color", "depth_mm"
_FARTHEST = np.iinfo(np.uint16).max  # millimetres that a 16-bit image holds

PredictDepth = Callable[[np.ndarray], np.ndarray]  # image (H, W, 3), RGB uint8 -> metres (H, W)


def predict_images(sources: list[image_files.Source], predict: PredictDepth, folder: Path) -> int:
    """Write two files an image below `folder`, and print the range of each. Returns 1 if some had to be left out.

    `depth_mm/` has 16-bit millimetres, as NYUv2's; `depth_color/` goes from red, near, to blue, far, over the range of
    the image itself.

    Raises:
        UserError: none of them can be read.
    """

    def one(source: image_files.Source) -> str:
        depth = predict(image_files.decode(source.path))
        millimetres = np.clip(np.rint(depth * 1000), 0, _FARTHEST).astype(np.uint16)
        image_files.write(folder / MILLIMETRES / f"{source.stem}.png", millimetres)
        image_files.write(folder / COLORS / f"{source.stem}.png", colored(depth))
        return f"{source.name}: {depth.min():.2f} to {depth.max():.2f} m, median {np.median(depth):.2f} m"

    lines, bad = each_image(sources, one)
    print(*lines, sep="\n")
    for name, what in ((MILLIMETRES, "millimetres"), (COLORS, "colours")):
        print(f"{what:<20} {folder / name}")
    return say_left_out(bad, len(lines))


def colored(depth: np.ndarray) -> np.ndarray:
    """(H, W) metres -> (H, W, 3) RGB uint8: the nearest pixel red, the farthest blue."""
    span = max(float(np.ptp(depth)), 1e-6)
    nearness = np.rint(255 * (depth.max() - depth) / span).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(nearness, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
