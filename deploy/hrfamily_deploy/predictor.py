"""An exported network as a function from images to label maps, whatever runs it.

predictor = Predictor("output/exported")
label = predictor.predict("street.jpg")[0]                          # (H, W) uint8
probabilities = predictor.predict(image, output="probabilities")    # (1, K, H, W), of an export with softmax or none
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from hrfamily_deploy import bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.image_processor import ImageProcessor
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.runtime import autotune, backends, hardware
from hrfamily_deploy.runtime.options import Options, Size
from hrfamily_deploy.runtime.plan import Plan


class Predictor:
    """A loaded network.

    One thread at a time: calls from several wait for one another. For more, give each thread a `clone()`, made where
    this one was; they share the weights.

    Args:
        folder: what `hrfamily export` or PaddleSeg's export wrote.
        device, precision, threads, tensorrt, backend, batch, sizes, gpu_memory_mb, cache: see `Options`.

    Raises:
        UserError: no such network, or it cannot be run like that here.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        tensorrt: bool = False,
        backend: str = "paddle",
        *,
        batch: int = 1,
        sizes: Sequence[Size] = (),
        gpu_memory_mb: int = 1024,
        cache: Path | None = None,
    ) -> None:
        options = Options(device, precision, threads, backend, batch, tensorrt, sizes, gpu_memory_mb, cache)
        self.bundle = bundle.read(folder)
        self._plan = autotune.plan(self.bundle, options, hardware.probe())
        self.processor = ImageProcessor(self.bundle, self._plan.threads)
        self._runner = backends.load(self._plan)
        self._lock = threading.Lock()

    def plan(self) -> Plan:
        """The configuration in use: backend, device, precision, threads and the rest, and notes on them."""
        return self._plan

    def clone(self) -> Predictor:
        """The same network for another thread."""
        twin = copy.copy(self)
        with self._lock:
            twin._runner = self._runner.clone()
        twin._lock = threading.Lock()
        return twin

    def warm_up(self, height: int, width: int) -> None:
        """Run nothing of that size, so that the first image does not wait for kernels to be chosen or compiled."""
        blank = self.bundle.as_image(np.zeros((height, width, self.bundle.channels), np.uint8))
        self.predict([blank] * self._plan.batch)

    def predict(
        self, images: image_files.ImageLike | Iterable[image_files.ImageLike], output: str = "labels"
    ) -> np.ndarray:
        """One image or several, all of one size: paths, files' contents, or arrays (H, W, 3) RGB uint8.

        A network with NormalizeBands takes arrays (H, W, C) of the type that it was trained on instead.

        Args:
            output: "labels"; "max_probability", "entropy" and "probabilities", of a graph that ends in probabilities or
                in logits; "logits".

        Returns:
            At the images' size: (N, H, W) uint8 class numbers (uint16 of more than 256); (N, H, W) float32 of 0..1, as
            `imaging.confidence` says; or (N, K, H, W) float32.

        Raises:
            UserError: an image that cannot be read, images of several sizes, or an output that the graph does not give.
        """
        if isinstance(images, (str, Path, bytes, bytearray, memoryview, np.ndarray)):
            images = [images]
        answers = list(self.predict_each(images, output))
        if not answers:
            raise UserError("no image was given")
        if len({answer.shape for answer in answers}) > 1:
            raise UserError("these images are of several sizes; `predict_each` takes such")
        return np.stack(answers)

    def predict_each(self, images: Iterable[image_files.ImageLike], output: str = "labels") -> Iterator[np.ndarray]:
        """The answers one by one, (H, W) or (K, H, W), images of any sizes; neighbours of one size share a batch.

        Raises:
            UserError: as `predict`, when it comes to that image.
        """
        self.check_output(output)
        yield from self.predict_prepared(map(self.prepare, images), output)

    def prepare(self, image: image_files.ImageLike) -> Prepared:
        """An image as the graph takes it; what is wrong with it alone shows here.

        Raises:
            UserError: it cannot be read, or does not fit a transform or the graph's shape.
        """
        return self.processor.prepare(image)

    def predict_prepared(self, items: Iterable[Prepared], output: str = "labels") -> Iterator[np.ndarray]:
        """As `predict_each`, of what `prepare` made. It reads ahead by a batch and one."""
        for (answer,) in self.answers(items, (output,)):
            yield answer

    def answers(self, items: Iterable[Prepared], outputs: Sequence[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """As `predict_prepared`, several outputs of each image from one run of the network."""
        for _, alike in groupby(items, key=lambda item: item.planes.shape):
            while batch := list(islice(alike, self._plan.batch)):
                for result, item in zip(self.run(batch), batch):
                    yield tuple(self.answer(result, item, output) for output in outputs)

    def run(self, batch: Sequence[Prepared]) -> np.ndarray:
        """What the graph ends in, of at most `plan().batch` images of one size: the network alone, for `answer`."""
        planes = np.stack([item.planes for item in batch])
        missing = max(0, self.bundle.input_shape[0] - len(batch))
        if missing:
            planes = np.concatenate([planes, np.repeat(planes[-1:], missing, axis=0)])
        with self._lock:
            return self._runner.run(planes)[: len(batch)]

    def answer(self, result: np.ndarray, item: Prepared, output: str = "labels") -> np.ndarray:
        """One image's part of what `run` returned, as `predict` gives it: (H, W) or (K, H, W) at the image's size."""
        return self.processor.answer(result, item, output)

    def check_output(self, output: str) -> None:
        """Raises UserError unless the graph gives that output."""
        self.processor.check_output(output)
