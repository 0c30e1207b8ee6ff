"""What is done to images beside a network: from an image to the graph's input, from its output to a label map."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import confidence, image_files
from hrfamily_deploy.imaging.postprocess import labels_back, labels_of, planes_back
from hrfamily_deploy.imaging.preprocess import Pipeline, Prepared, Step

OUTPUTS = ("labels", *confidence.MEASURES, "probabilities", "logits")
# What a graph ends in -> the outputs that can be made of it.
_FROM = {"labels": OUTPUTS[:1], "probabilities": OUTPUTS[:-1], "logits": OUTPUTS}


class ImageProcessor:
    """Preprocessing and postprocessing of an exported network. It needs no runtime, and threads may share it.

    Args:
        bundle: the network's description.
        threads: that make a label map of planes together.

    Raises:
        UserError: the description has a transform that evaluation cannot have.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle = bundle
        self._pipeline = Pipeline(
            bundle.transforms, bundle.channels, bundle.description, bundle.dtype if bundle.takes_images else None
        )
        self._strips = threads
        self._threads = ThreadPoolExecutor(threads, "strips")

    @property
    def keeps_size(self) -> bool:
        """Whether an image goes into the graph at its own size."""
        return self._pipeline.keeps_size

    def prepare(self, image: image_files.ImageLike) -> Prepared:
        """An image as the graph takes it; what is wrong with it alone shows here.

        Raises:
            UserError: it cannot be read, or does not fit a transform or the graph's shape.
        """
        item = self._pipeline(image_files.decode(image, self.bundle.channels, self.bundle.image_dtype))
        expected, found = self.bundle.input_shape[2:], self._size(item)
        if any(fixed not in (-1, given) for fixed, given in zip(expected, found)):
            raise UserError(
                f"an image comes to {found[0]}x{found[1]} (height x width) and this graph takes "
                f"{expected[0]}x{expected[1]}: export with an open shape, or with a Resize in the config's val_dataset"
            )
        return item

    def answer(self, result: np.ndarray, item: Prepared, output: str = "labels") -> np.ndarray:
        """One image's part of what the graph gave, at the image's size: (H, W) class numbers or float32 of 0..1 (see
        `imaging.confidence`), or (K, H, W) planes."""
        if self.bundle.output == "labels":
            classes = max(len(self.bundle.class_names), int(result.max()) + 1)  # by the names, tiles are of one type
            return np.ascontiguousarray(labels_back(result.astype(_label_type(classes)), item.steps))
        steps = [*item.steps, Step("resize", *self._size(item))] if self.bundle.native else item.steps
        if output == "labels":
            return self._labels(result, steps)
        if output in confidence.MEASURES:
            return confidence.measured(planes_back(self._logits(result) / self._temperature, steps), output)
        planes = np.stack(list(planes_back(result, steps)))
        if output == self.bundle.output and (output == "logits" or self._temperature == 1):
            return planes
        return _softmax(self._logits(planes) / self._temperature)

    def check_output(self, output: str) -> None:
        """Raises UserError unless that output can be made of what the graph ends in."""
        if output not in OUTPUTS:
            raise UserError(f"no output {output!r}; there are {', '.join(OUTPUTS)}")
        ends_in = self.bundle.output
        if output not in _FROM[ends_in]:
            op = "none" if output == "logits" else "softmax"
            raise UserError(
                f"{output} of a graph that ends in {ends_in}: export with --output_op {op}"
                + (" (or with --fast and no --output_op)" if ends_in == "labels" else "")
            )

    @property
    def _temperature(self) -> np.float32:
        return np.float32(self.bundle.temperature)

    def _logits(self, planes: np.ndarray) -> np.ndarray:
        """What the graph ends in as logits; those of probabilities lack a constant at each pixel."""
        if self.bundle.output != "probabilities":
            return planes
        return np.log(np.maximum(planes, np.finfo(np.float32).tiny))

    def _size(self, item: Prepared) -> tuple[int, int]:
        height, width = item.planes.shape[:2] if self.bundle.takes_images else item.planes.shape[1:]
        return height, width

    def _labels(self, planes: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
        if len(planes) == 1:
            raise UserError('this network has one plane and no classes; ask for output="logits"')
        if self.bundle.output == "probabilities" and steps:
            planes = self._logits(planes)  # what is interpolated between them has evaluation's greatest
        return labels_of(planes, steps, self._threads, self._strips)


def _label_type(classes: int) -> type:
    return np.uint8 if classes <= 256 else np.uint16


def _softmax(planes: np.ndarray) -> np.ndarray:
    powers = np.exp(planes - planes.max(axis=0))
    return powers / powers.sum(axis=0)
