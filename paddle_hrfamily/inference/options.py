"""How a network is run over images, and over a whole data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paddle_hrfamily.errors import UserError


@dataclass(frozen=True)
class InferenceOptions:
    """How the network sees an image. Sizes are (width, height) in pixels, as PaddleSeg has them.

    Attributes:
        aug_pred: average over `scales` and flips.
        is_slide: move a window of `crop_size` over the image by `stride`.
    """

    aug_pred: bool = False
    scales: tuple[float, ...] = (1.0,)
    flip_horizontal: bool = False
    flip_vertical: bool = False
    is_slide: bool = False
    crop_size: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None

    @classmethod
    def read(cls, options: Mapping[str, object]) -> InferenceOptions:
        """From keys of that name, others being left alone. Raises UserError for values that make no sense."""
        crop_size, stride = _window(options) if options.get("is_slide") else (None, None)
        return cls(
            aug_pred=bool(options.get("aug_pred")),
            scales=_scales(options.get("scales", 1.0)),
            flip_horizontal=bool(options.get("flip_horizontal")),
            flip_vertical=bool(options.get("flip_vertical")),
            is_slide=bool(options.get("is_slide")),
            crop_size=crop_size,
            stride=stride,
        )

    def __str__(self) -> str:
        """As tables say it: scales and flips, if there are any, and windows."""
        flips = [word for word in ("horizontal", "vertical") if self.aug_pred and getattr(self, f"flip_{word}")]
        scales = self.scales if self.aug_pred else (1.0,)
        words = [f"scale{'s' if len(scales) > 1 else ''} {' '.join(f'{scale:g}' for scale in scales)}"]
        words.append(f"flip {' and '.join(flips)}" if flips else "no flip")
        if self.crop_size and self.stride:
            words.append("windows {}x{} by {}x{}".format(*self.crop_size, *self.stride))
        return ", ".join(words)


@dataclass(frozen=True)
class EvaluationOptions:
    """How a data set with measures of its own is evaluated: the arguments of PaddleSeg's evaluate.

    Attributes:
        precision: "fp32", or "fp16" for mixed precision at `amp_level`.
        num_workers: processes that load images.
        print_detail: whether to print the table and show progress.
    """

    inference: InferenceOptions
    precision: str = "fp32"
    amp_level: str = "O1"
    num_workers: int = 0
    print_detail: bool = True


def _scales(given: object) -> tuple[float, ...]:
    values = given if isinstance(given, (list, tuple)) else [given]
    scales = tuple(float(value) for value in values if isinstance(value, (int, float)) and value > 0)
    if not scales or len(scales) < len(values):
        raise UserError(f"scales {list(values)} must be numbers above 0, such as 0.75 1.0 1.25")
    return scales


def _window(options: Mapping[str, object]) -> tuple[tuple[int, int], tuple[int, int]]:
    crop_size, stride = (_size(name, options.get(name)) for name in ("crop_size", "stride"))
    if any(step > side for step, side in zip(stride, crop_size)):
        raise UserError(f"stride {stride} is greater than crop_size {crop_size}: pixels stay unseen")
    return crop_size, stride


def _size(name: str, size: Sequence[int] | object) -> tuple[int, int]:
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size):
        raise UserError(f"is_slide needs --{name} WIDTH HEIGHT, such as --{name} 512 512; it is {size}")
    return size[0], size[1]
