"""An exported network as a function from images to label maps, whatever runs it.

predictor = Predictor("output/exported")
label = predictor.predict("street.jpg")[0]                          # (H, W) uint8
probabilities = predictor.predict(image, output="probabilities")    # (1, K, H, W), of an export with softmax or none
"""

from __future__ import annotations

import copy
import importlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol

import exported
import fastest
import machine
import numpy as np
import pictures
import plan
from errors import UserError
from postprocess import labels_back, labels_of, planes_back
from preprocess import Pipeline, Prepared, Step

OUTPUTS = ("labels", "probabilities", "logits")
_OF = {
    "labels": ("labels",),
    "probabilities": ("labels", "probabilities"),
    "logits": OUTPUTS,
}  # a graph's end -> answers


class Backend(Protocol):
    """What runs the graph."""

    def run(self, batch: np.ndarray) -> np.ndarray: ...

    def clone(self) -> Backend: ...


class Predictor:
    """A loaded network.

    One thread at a time: calls from several wait for one another. For more, give each thread a `clone()`, made where
    this one was; they share the weights.

    Args:
        folder: what `hrfamily export` or PaddleSeg's export wrote.
        device, precision, threads, tensorrt, backend, batch, sizes, gpu_memory_mb, cache: see `plan.Options`.

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
        sizes: Sequence[plan.Size] = (),
        gpu_memory_mb: int = 1024,
        cache: Path | None = None,
    ) -> None:
        options = plan.Options(device, precision, threads, backend, batch, tensorrt, sizes, gpu_memory_mb, cache)
        self.exported = exported.read(folder)
        self.pipeline = Pipeline(
            self.exported.transforms,
            self.exported.channels,
            self.exported.description,
            self.exported.dtype if self.exported.takes_pictures else None,
        )
        here = machine.probe()
        self._plan = plan.make(self.exported, options, here)  # first of all: what cannot be is not measured
        if able := plan.candidates(self.exported, options, here):
            self._plan = plan.make(self.exported, options, here, fastest.measured(self.exported, options, here, able))
        self._backend: Backend = _load(self._plan)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(self._plan["threads"], "strips")

    def plan(self) -> plan.Plan:
        """The configuration in use: backend, device, precision, threads, passes and the rest, and notes on them."""
        return copy.deepcopy(self._plan)

    def clone(self) -> Predictor:
        """The same network for another thread."""
        twin = copy.copy(self)
        with self._lock:
            twin._backend = self._backend.clone()
        twin._lock = threading.Lock()
        return twin

    def warm_up(self, height: int, width: int) -> None:
        """Run nothing of that size, so that the first image does not wait for kernels to be chosen or compiled."""
        blank = np.zeros((height, width, self.exported.channels), np.uint8)
        self.predict([blank] * self._plan["batch"])

    def predict(self, images: pictures.Picture | Iterable[pictures.Picture], output: str = "labels") -> np.ndarray:
        """One image or several, all of one size: paths, files' contents, or arrays (H, W, 3) RGB uint8.

        Args:
            output: "labels"; "probabilities", of a graph that ends in them or in logits; "logits".

        Returns:
            At the images' size: (N, H, W) uint8 class numbers (uint16 of more than 256), or (N, K, H, W) float32.

        Raises:
            UserError: an image that cannot be read, images of several sizes, or an output that the graph does not give.
        """
        single = isinstance(images, (str, Path, bytes, bytearray, memoryview, np.ndarray))
        answers = list(self.predict_each([images] if single else images, output))
        if not answers:
            raise UserError("no image was given")
        if len({answer.shape for answer in answers}) > 1:
            raise UserError("these images are of several sizes; `predict_each` takes such")
        return np.stack(answers)

    def predict_each(self, images: Iterable[pictures.Picture], output: str = "labels") -> Iterator[np.ndarray]:
        """The answers one by one, (H, W) or (K, H, W), images of any sizes; neighbours of one size share a batch.

        Raises:
            UserError: as `predict`, when it comes to that image.
        """
        self.check_output(output)
        yield from self.predict_prepared(map(self.prepare, images), output)

    def prepare(self, image: pictures.Picture) -> Prepared:
        """An image as the graph takes it; what is wrong with it alone shows here.

        Raises:
            UserError: it cannot be read, or does not fit a transform or the graph's shape.
        """
        item = self.pipeline(pictures.decode(image, self.exported.channels))
        expected, found = self.exported.input_shape[2:], self._size(item)
        if any(fixed not in (-1, given) for fixed, given in zip(expected, found)):
            raise UserError(
                f"an image comes to {found[0]}x{found[1]} (height x width) and this graph takes "
                f"{expected[0]}x{expected[1]}: export with an open shape, or with a Resize in the config's val_dataset"
            )
        return item

    def predict_prepared(self, items: Iterable[Prepared], output: str = "labels") -> Iterator[np.ndarray]:
        """As `predict_each`, of what `prepare` made. It reads ahead by a batch and one."""
        for _, alike in groupby(items, key=lambda item: item.planes.shape):
            while batch := list(islice(alike, self._plan["batch"])):
                for result, item in zip(self.run(batch), batch):
                    yield self.answer(result, item, output)

    def run(self, batch: Sequence[Prepared]) -> np.ndarray:
        """What the graph ends in, of at most `plan()["batch"]` images of one size: the network alone, for `answer`."""
        planes = np.stack([item.planes for item in batch])
        missing = max(0, self.exported.input_shape[0] - len(batch))
        if missing:
            planes = np.concatenate([planes, np.repeat(planes[-1:], missing, axis=0)])
        with self._lock:
            return self._backend.run(planes)[: len(batch)]

    def answer(self, result: np.ndarray, item: Prepared, output: str = "labels") -> np.ndarray:
        """One image's part of what `run` returned, as `predict` gives it: (H, W) or (K, H, W) at the image's size."""
        if self.exported.output == "labels":
            return np.ascontiguousarray(labels_back(result.astype(_label_type(int(result.max()) + 1)), item.steps))
        steps = [*item.steps, Step("resize", *self._size(item))] if self.exported.native else item.steps
        if output == "labels":
            return self._labels(result, steps)
        planes = np.stack(list(planes_back(result, steps)))
        return planes if output == self.exported.output else _softmax(planes)

    def check_output(self, output: str) -> None:
        """Raises UserError unless the graph gives that output."""
        if output not in OUTPUTS:
            raise UserError(f"no output {output!r}; there are {', '.join(OUTPUTS)}")
        ends_in = self.exported.output
        if output not in _OF[ends_in]:
            op = "none" if output == "logits" else "softmax"
            raise UserError(f"{output} of a graph that ends in {ends_in}: export with --output_op {op}")

    def _size(self, item: Prepared) -> tuple[int, int]:
        return item.planes.shape[:2] if self.exported.takes_pictures else item.planes.shape[1:]

    def _labels(self, planes: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
        if len(planes) == 1:
            raise UserError('this network has one plane and no classes; ask for output="logits"')
        if self.exported.output == "probabilities" and steps:
            # Logits but for a constant at each pixel: what is interpolated between them has evaluation's greatest.
            planes = np.log(np.maximum(planes, np.finfo(np.float32).tiny))
        return labels_of(planes, steps, self._threads, self._plan["threads"])


def _load(chosen: plan.Plan) -> Backend:
    module = importlib.import_module(f"{chosen['backend']}_backend")
    try:
        return module.load(chosen)
    except UserError:
        raise
    except Exception as error:  # each runtime has errors of its own, of files that are none of its graphs
        reason = " ".join(str(error).split())[-300:]
        raise UserError(
            f"{chosen['model']}: {chosen['backend']} {chosen['version']} cannot load it: {reason}"
        ) from error


def _label_type(classes: int) -> type:
    return np.uint8 if classes <= 256 else np.uint16


def _softmax(planes: np.ndarray) -> np.ndarray:
    powers = np.exp(planes - planes.max(axis=0))
    return powers / powers.sum(axis=0)
