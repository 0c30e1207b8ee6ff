"""Evaluation as published: what a config's `protocols` say, and the inference that they ask for.

    protocols:
      multi:
        scales: [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
        flip_horizontal: true

A protocol has the keys of PaddleSeg's `test_config` (scales, flip_horizontal, flip_vertical, is_slide, crop_size,
stride), and what that cannot say. The reference is `multi_scale_inference` of the official HRNet repository
(lib/datasets/base_dataset.py and cityscapes.py, branch HRNet-OCR); PaddleSeg averages logits, over whole images or over
windows that are moved back inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddleseg.core import infer

from paddle_hrfamily.errors import UserError, unknown
from paddle_hrfamily.inference.options import InferenceOptions
from paddle_hrfamily.patching import patched

Average = Literal["logits", "softmax", "exp"]
SINGLE = "single"
AVERAGES = ("logits", "softmax", "exp")
_OPTIONS = ("scales", "flip_horizontal", "flip_vertical", "is_slide", "crop_size", "stride")

Network = Callable[[paddle.Tensor], paddle.Tensor]  # image (N, C, h, w) -> maps (N, K, h, w)


@dataclass(frozen=True)
class Protocol:
    """One entry of a config's `protocols`.

    Attributes:
        name: its key.
        options: scales, flips and windows.
        average: what is averaged over flips, windows and scales. "logits"; "softmax"; or "exp" as the official HRNet
            code does it: the logits of an image and its mirror image, then exp() of these over windows and scales.
        long_side: pixels that the long side has at scale 1, whatever the transforms made of it; None leaves its size.
        multiple: the image is first padded, below and to the right with the mean colour, to multiples of this.
        pad: windows keep their size: what they lack, at the lower and right edge, is black. An image smaller than the
            window is padded to it. Without, windows are moved back inside, and smaller images are taken as they are.
        transforms: of the validation images, in place of the config's; None leaves those.
    """

    name: str
    options: InferenceOptions
    average: Average = "logits"
    long_side: int | None = None
    multiple: int = 1
    pad: bool = False
    transforms: tuple[Mapping[str, Any], ...] | None = None

    @classmethod
    def of_config(cls, config: dict[str, Any], name: str | None) -> Protocol | None:
        """The config's protocol of that name, whose transforms are put into it.

        None for no name, and for "single" where the config has none of that name: its test_config then says it all.

        Args:
            config: a `Config.dic`.

        Raises:
            UserError: as `read`, or the config has no protocols.
        """
        protocols = config.get("protocols") or {}
        if name is None or (name == SINGLE and name not in protocols):
            return None
        if not protocols:
            raise UserError(f"--protocol {name}: the config has no protocols; --scales and --is_slide do as well")
        protocol = cls.read(protocols, name)
        if protocol.transforms is not None:
            config["val_dataset"]["transforms"] = [dict(step) for step in protocol.transforms]
        return protocol

    @classmethod
    def read(cls, protocols: object, name: str) -> Protocol:
        """The protocol of that name in a config's `protocols`.

        Raises:
            UserError: there is none of that name, it has a key that no protocol has, or a value without sense.
        """
        if not isinstance(protocols, Mapping) or not all(isinstance(entry, Mapping) for entry in protocols.values()):
            raise UserError(f"protocols must be a mapping of names to mappings, and is {protocols!r}")
        if name not in protocols:
            raise unknown("protocol of this config", name, protocols)
        given = dict(protocols[name])
        for key in given:
            if key not in (*_OPTIONS, *_OWN):
                raise unknown(f"key of protocols.{name}", key, [*_OPTIONS, *_OWN])
        own = {key: _OWN[key](f"protocols.{name}.{key}", value) for key, value in given.items() if key in _OWN}
        protocol = cls(name, InferenceOptions.read({**given, "aug_pred": True}), **own)
        if protocol.pad and not protocol.options.is_slide:
            raise UserError(f"protocols.{name}.pad is about windows: set is_slide, crop_size and stride too")
        return protocol

    def __str__(self) -> str:
        own = [f"long side {self.long_side} at scale 1"] if self.long_side else []
        own += ["windows padded"] if self.pad else []
        return ", ".join([f"protocol {self.name}: {self.options}", *own, f"averages of {self.average}"])

    def to_json(self) -> dict[str, object]:
        """Everything above as JSON types."""
        own = {key: getattr(self, key) for key in _OWN}
        return {"protocol": self.name, **asdict(self.options), **own}

    @contextmanager
    def applied(self, transforms: Sequence[object]) -> Iterator[None]:
        """Within the `with`, PaddleSeg's inference, with or without averaging, is this protocol's.

        Args:
            transforms: what the images have passed; its Normalize says what black has become.
        """
        plain = infer.inference

        def inference(
            model: nn.Layer, im: paddle.Tensor, trans_info: list, **_: object
        ) -> tuple[paddle.Tensor, paddle.Tensor]:
            aligned = bool(getattr(model, "align_corners", False))
            maps = self._maps(lambda image: plain(model, image), im, _black(transforms, im.shape[1]), aligned)
            maps = restored(maps, trans_info, aligned)
            predicted = maps.argmax(axis=1, keepdim=True, dtype="int32")
            return predicted, maps if self.average == "logits" else maps.clip(min=1e-38).log()

        with patched(infer, inference=inference, aug_inference=inference):
            yield

    def _maps(self, network: Network, image: paddle.Tensor, black: paddle.Tensor, aligned: bool) -> paddle.Tensor:
        """The average over scales, (N, K, h, w) of image (N, C, h, w)."""
        height, width = image.shape[2:]
        image = F.pad(image, [0, -width % self.multiple, 0, -height % self.multiple])  # normalised, the mean is 0
        whole = image.shape[2:]
        total: Any = 0
        for scale in self.options.scales:
            scaled = resized(image, self.size_at(whole, scale))
            total = total + resized(self._windowed(network, scaled, black), whole, aligned)
        return (total / len(self.options.scales))[:, :, :height, :width]

    def size_at(self, size: Sequence[int], scale: float) -> list[int]:
        """Height and width at which the network sees an image of that height and width."""
        if self.long_side is None:
            return [int(side * scale + 0.5) for side in size]
        long_side = int(self.long_side * scale + 0.5)
        return [int(side * long_side / max(size) + 0.5) for side in size]

    def _windowed(self, network: Network, image: paddle.Tensor, black: paddle.Tensor) -> paddle.Tensor:
        if self.options.crop_size is None or self.options.stride is None:
            return self._flipped(network, image)
        height, width = image.shape[2:]
        crop, step = self.options.crop_size[::-1], self.options.stride[::-1]
        if self.pad:
            right, below = (_reach(*sides) - sides[0] for sides in zip((width, height), crop[::-1], step[::-1]))
            image = F.pad(image - black, [0, right, 0, below]) + black
        size = image.shape[2:]
        starts = [_starts(*sides) for sides in zip(size, crop, step)]
        total, count = None, np.zeros([1, 1, *size], "float32")
        for top in starts[0]:
            for left in starts[1]:
                bottom, right = min(top + crop[0], size[0]), min(left + crop[1], size[1])
                maps = self._flipped(network, image[:, :, top:bottom, left:right])
                total = paddle.zeros([*maps.shape[:2], *size]) if total is None else total
                total[:, :, top:bottom, left:right] = total[:, :, top:bottom, left:right] + maps
                count[:, :, top:bottom, left:right] += 1
        return (total / paddle.to_tensor(count))[:, :, :height, :width]

    def _flipped(self, network: Network, image: paddle.Tensor) -> paddle.Tensor:
        """The average over the image and its mirror images; a data set's left and right classes are swapped back."""
        total: Any = 0
        flips = infer.flip_combination(self.options.flip_horizontal, self.options.flip_vertical)
        for flip in flips:
            logits = infer.tensor_flip(network(infer.tensor_flip(image, flip)).astype("float32"), flip)
            total = total + (F.softmax(logits, axis=1) if self.average == "softmax" else logits)
        return (total / len(flips)).exp() if self.average == "exp" else total / len(flips)


def _starts(side: int, crop: int, step: int) -> list[int]:
    """Where windows begin that cover a side; the last is moved back to end with it."""
    count = ceil(max(side - crop, 0) / step) + 1
    return [max(min(index * step, side - crop), 0) for index in range(count)]


def _reach(side: int, crop: int, step: int) -> int:
    """How far windows reach that cover a side and are not moved back."""
    return ceil(max(side - crop, 0) / step) * step + crop


def resized(
    x: paddle.Tensor, size: Sequence[int], align_corners: bool = False, mode: str = "bilinear"
) -> paddle.Tensor:
    """(N, C, h, w) at another height and width; as it is where it has these."""
    if list(x.shape[2:]) == list(size):
        return x
    return F.interpolate(x, list(size), mode=mode, align_corners=align_corners)


def restored(
    maps: paddle.Tensor, trans_info: list, align_corners: bool = False, mode: str = "bilinear"
) -> paddle.Tensor:
    """PaddleSeg's reverse_transform, which has no align_corners: maps at the size before the transforms."""
    for item in trans_info[::-1]:
        kind = item[0][0] if isinstance(item[0], list) else item[0]
        height, width = int(item[1][0]), int(item[1][1])
        resize = kind == "resize"
        maps = resized(maps, (height, width), align_corners, mode) if resize else maps[:, :, :height, :width]
    return maps


def _black(transforms: Sequence[object], channels: int) -> paddle.Tensor:
    """(1, channels, 1, 1): 0 after the transforms' Normalize."""
    found = [step for step in transforms if hasattr(step, "mean") and hasattr(step, "std")]
    black = -np.asarray(found[-1].mean) / np.asarray(found[-1].std) if found else np.zeros(channels)
    return paddle.to_tensor(np.broadcast_to(black, [channels]).reshape([1, channels, 1, 1]).astype("float32"))


def _choice(where: str, value: object) -> object:
    if value not in AVERAGES:
        raise unknown(where, str(value), AVERAGES)
    return value


def _count(where: str, value: object) -> object:
    if type(value) is not int or value < 1:
        raise UserError(f"{where} is {value!r}; give a whole number of 1 or more")
    return value


def _switch(where: str, value: object) -> object:
    if type(value) is not bool:
        raise UserError(f"{where} is {value!r}; give true or false")
    return value


def _steps(where: str, value: object) -> object:
    if not isinstance(value, (list, tuple)) or not all(isinstance(step, Mapping) and "type" in step for step in value):
        raise UserError(f"{where} is {value!r}; give a list of transforms, each with its type")
    return tuple(value)


# The keys that PaddleSeg's test_config does not have, each with its check.
_OWN: dict[str, Callable[[str, object], Any]] = {
    "average": _choice,
    "long_side": _count,
    "multiple": _count,
    "pad": _switch,
    "transforms": _steps,
}
