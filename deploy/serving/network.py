"""What is done beside a network: from a job to the network's input, and from its result to the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pictures
from errors import UserError
from predictor import Predictor
from preprocess import Prepared

from serving import encoding
from serving.engine import Answer, Description, Job

Run = Callable[[Sequence[Prepared]], Sequence[np.ndarray]]


@dataclass
class Opened:
    """A job's picture, ready for the network. `image` is kept for an overlay alone."""

    prepared: Prepared
    image: np.ndarray | None
    milliseconds: dict[str, float]
    since: float = field(default_factory=time.perf_counter)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.prepared.planes.shape


class Network:
    """`open` and `finish` may be called from several threads at a time. `predictor` may lack its network."""

    def __init__(self, predictor: Predictor, name: str) -> None:
        exported, plan = predictor.exported, predictor.plan()
        self._predictor = predictor
        self.description = Description(
            name=name,
            class_names=exported.class_names,
            class_colors=exported.class_colors,
            input_shape=tuple(exported.input_shape),
            backend=plan["backend"],
            precision=plan["precision"],
            device=plan["device"],
            batch=plan["batch"],
        )

    def open(self, job: Job) -> Opened:
        """Decode and prepare.

        Raises:
            UserError: what is wrong with the picture. It names no file.
        """
        watch = Stopwatch()
        exported = self._predictor.exported
        try:
            image = pictures.decode(job.data, exported.channels)
            watch.lap("decode")
            prepared = self._predictor.prepare(image)
        except UserError as error:
            raise UserError(str(error).replace(str(exported.description), self.description.name)) from None
        except (cv2.error, ValueError, MemoryError):
            raise UserError("this picture cannot be prepared for the network") from None
        watch.lap("prepare")
        return Opened(prepared, image if job.output == "overlay" else None, watch.milliseconds)

    def pixels(self, shape: tuple[int, ...]) -> int:
        """Of an item of that shape."""
        return math.prod(shape) // self._predictor.exported.channels

    def timed(self, batch: Sequence[Opened], run: Run) -> Sequence[np.ndarray]:
        """What `run`, which is the predictor's or like it, gives for items of one shape."""
        begun = time.perf_counter()
        results = run([item.prepared for item in batch])
        ended = time.perf_counter()
        for item in batch:
            item.milliseconds |= {"wait": 1000 * (begun - item.since), "run": 1000 * (ended - begun)}
        return results

    def finish(self, job: Job, opened: Opened, result: np.ndarray) -> Answer:
        """The label map at the picture's size, in the form asked for."""
        watch = Stopwatch(opened.milliseconds)
        label = self._predictor.answer(result, opened.prepared)
        watch.lap("answer")
        if job.output == "json":
            content = encoding.summary(label, self.description, watch.milliseconds)  # without the time that it takes
        elif job.output == "overlay":
            content = encoding.overlay(opened.image, label, self.description, job.opacity, job.media_type)
        else:
            content = encoding.labels(label, self.description)
        watch.lap("encode")
        return Answer(content, job.media_type, watch.milliseconds)


class Stopwatch:
    """Times of stages, one after the other."""

    def __init__(self, milliseconds: dict[str, float] | None = None) -> None:
        self.milliseconds = {} if milliseconds is None else milliseconds
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = 1000 * (now - self._since)
        self._since = now
