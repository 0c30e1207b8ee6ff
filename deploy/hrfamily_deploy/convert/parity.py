"""Comparing two runtimes on an exported network: both get the same images, and what the graphs end in is compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging.image_files import ImageLike
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.predictor import Predictor

LEAST_EQUAL = 0.9999  # of all pixels
MOST_DIFFERENT = 1e-3  # of the greatest value: what float32 in another order of operations may differ by
OPEN_BATCH = 2
_OPEN_SIZES = ((128, 256), (97, 161))  # a round pair and an odd one


@dataclass(frozen=True)
class Compared:
    """How two runtimes differ on one batch.

    Attributes:
        shape: of the input.
        equal: share of pixels with the same label; None of a network without classes.
        difference: the greatest one of logits or probabilities; None of a graph that ends in labels.
        greatest: of those, without sign.
    """

    shape: tuple[int, ...]
    equal: float | None
    difference: float | None = None
    greatest: float = 1.0

    @property
    def agrees(self) -> bool:
        near = self.difference is None or self.difference <= MOST_DIFFERENT * max(self.greatest, 1e-3)
        return near and (self.equal is None or self.equal >= LEAST_EQUAL)

    def __str__(self) -> str:
        found = [] if self.equal is None else [f"{100 * self.equal:.4f} % of pixels equal"]
        if self.difference is not None:
            found.append(f"planes differ by {self.difference:.2g} at most (the greatest value is {self.greatest:.3g})")
        return f"{'x'.join(map(str, self.shape))}: {', '.join(found)}"


def compare(reference: Predictor, other: Predictor, images: Sequence[ImageLike] = ()) -> Iterator[Compared]:
    """Compare on these images one by one, and on generated ones: where the graph is open, of several sizes and batches.

    Raises:
        UserError: they disagree; the message has the figures.
    """
    for items in _batches(reference, images):
        compared = _compared(items, reference.run(items), other.run(items), reference.bundle.output)
        if not compared.agrees:
            first, second = (predictor.plan().backend for predictor in (reference, other))
            raise UserError(
                f"{second} differs from {first} at {compared}; at least {100 * LEAST_EQUAL:.2f} % must be equal, "
                f"and planes within {MOST_DIFFERENT:g} of the greatest value"
            )
        yield compared


def _batches(predictor: Predictor, images: Sequence[ImageLike]) -> Iterator[list[Prepared]]:
    for image in images:
        yield [predictor.prepare(image)]
    batch, channels, *fixed = predictor.bundle.input_shape
    for size in _OPEN_SIZES if -1 in fixed else (fixed,):
        height, width = (given if extent == -1 else extent for extent, given in zip(fixed, size))
        noise = (_image(height, width, channels, i) for i in range(predictor.plan().batch))
        items = [predictor.prepare(predictor.bundle.as_image(image)) for image in noise]
        yield items
        if batch == -1:
            yield items[:1]


def _image(height: int, width: int, channels: int, number: int) -> np.ndarray:
    """(H, W, channels) uint8: large shapes and fine grain, another image for each number."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (-(-height // 16), -(-width // 16), channels))
    shapes = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return (shapes + random.integers(-20, 21, shapes.shape)).clip(0, 255).astype(np.uint8)


def _compared(items: Sequence[Prepared], expected: np.ndarray, found: np.ndarray, output: str) -> Compared:
    shape = (len(items), *items[0].planes.shape)
    if expected.shape != found.shape:
        raise UserError(f"at {'x'.join(map(str, shape))} one runtime gives {expected.shape}, the other {found.shape}")
    if output == "labels":
        return Compared(shape, float((expected == found).mean()))
    has_classes = expected.shape[1] > 1
    equal = float((expected.argmax(axis=1) == found.argmax(axis=1)).mean()) if has_classes else None
    return Compared(shape, equal, float(np.abs(expected - found).max()), float(np.abs(expected).max()))
