"""Images of SPGNet's guided attention: where the first stage looks for a class (SPGNet section 4.5, figure 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import paddle
from paddle import nn

from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.inference.label_maps import each_image, say_left_out
from paddle_hrfamily.layers import resize_as
from paddle_hrfamily.models import SPGNet
from paddle_hrfamily.visualization import drawing

CHANNELS = 15  # of the mask that are looked at for each class, as in the paper

Attend = Callable[[np.ndarray], np.ndarray]  # image (H, W, 3), RGB uint8 -> attention (classes, H, W), 0 or more


class ClassAttention(nn.Layer):
    """image (N, C, H, W) -> [attention (N, len(classes), H, W)], 0 or more, in the form of a network's logits.

    For each class: the channels of the mask that the class opens most, by their weights in the convolution from logits
    to mask, and the l2 norm over them.

    Args:
        model: an SPGNet of two or more stages, guided by "sigmoid" or "softmax".
        classes: their numbers.
        stage: 1 is the first; the last stage guides nothing.
        channels: how many of the mask's channels to look at.

    Raises:
        UserError: another network, stage, or number of channels.
    """

    def __init__(self, model: nn.Layer, classes: Sequence[int], *, stage: int = 1, channels: int = CHANNELS) -> None:
        super().__init__()
        _check(model, stage, channels)
        self.model = model
        self.stage = stage
        weights = model.links[stage - 1].class_weights()
        self.selected = [paddle.topk(weights[number], channels)[1] for number in classes]

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        mask = self.model.guided_attention(image)[self.stage - 1]  # (N, decoder_channels, H/4, W/4)
        norms = [paddle.norm(mask.index_select(channels, axis=1), p=2, axis=1) for channels in self.selected]
        return [resize_as(paddle.stack(norms, axis=1), image, self.model.align_corners)]


def _check(model: nn.Layer, stage: int, channels: int) -> None:
    if not isinstance(model, SPGNet):
        raise UserError(f"model.type {type(model).__name__}: guided attention is SPGNet's")
    if not model.links or model.guidance not in ("sigmoid", "softmax"):
        raise UserError(
            "guided attention takes an SPGNet of two stages or more, and guidance sigmoid or softmax; this one has "
            f"{len(model.stages)}, and guidance {model.guidance!r}"
        )
    if not 1 <= stage <= len(model.links):
        raise UserError(f"--stage {stage}: stages 1 to {len(model.links)} of this network guide the next one")
    width = model.links[0].class_weights().shape[1]
    if not 1 <= channels <= width:
        raise UserError(f"--channels {channels}: the guided attention has 1 to {width} of them to look at")


def draw_images(
    sources: list[image_files.Source], attend: Attend, names: Sequence[str], folder: Path, opacity: float
) -> int:
    """Write `folder`/NAME/CLASS.png for each image and class, and all of an image side by side as NAME.png.

    Returns 1 if some images had to be left out.

    Raises:
        UserError: none of them can be read.
    """

    def one(source: image_files.Source) -> str:
        image = image_files.decode(source.path)
        drawn = {name: heat(image, attention, opacity) for name, attention in zip(names, attend(image))}
        for name, picture in drawn.items():
            image_files.write(folder / source.stem / f"{_file_name(name)}.png", picture)
        panel = folder / f"{source.stem}.png"
        image_files.write(panel, drawing.side_by_side({"image": image, **drawn}))
        return f"{source.name}: {panel}"

    lines, bad = each_image(sources, one)
    print(*lines, sep="\n")
    return say_left_out(bad, len(lines))


def heat(image: np.ndarray, attention: np.ndarray, opacity: float) -> np.ndarray:
    """The attention (H, W) over the image: its least value blue, its greatest red."""
    colors = cv2.applyColorMap(np.rint(255 * normalised(attention)).astype(np.uint8), cv2.COLORMAP_JET)
    return cv2.addWeighted(image, 1 - opacity, cv2.cvtColor(colors, cv2.COLOR_BGR2RGB), opacity, 0)


def normalised(attention: np.ndarray) -> np.ndarray:
    """Brought to 0..1; 0 where all values are equal."""
    span = float(np.ptp(attention))
    return (attention - attention.min()) / span if span > 0 else np.zeros_like(attention)


def class_numbers(wanted: Sequence[str] | None, names: Sequence[str]) -> Mapping[str, int]:
    """Name -> number of the wanted classes, of all if none are named.

    Raises:
        UserError: a class that there is not, with the nearest names.
    """
    for name in wanted or ():
        if name not in names:
            raise unknown("class", name, names)
    return {name: names.index(name) for name in wanted or names}


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
