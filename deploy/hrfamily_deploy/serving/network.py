"""A model's network, in a process of its own, and what is done beside it: from requests to inputs, from results to
responses."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.image_processor import ImageProcessor
from hrfamily_deploy.imaging import bands, image_files
from hrfamily_deploy.imaging.confidence import marked
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.serving.engine import Description, SegmentRequest, SegmentResponse
from hrfamily_deploy.serving.outputs import OUTPUTS, Segmented
from hrfamily_deploy.serving.process import NetworkProcess
from hrfamily_deploy.serving.settings import ModelSettings


@dataclass
class DecodedImage:
    """A request's image, ready for the network.

    Attributes:
        image: None unless the request's output needs it.
        milliseconds: what each stage took so far.
        since: when it was ready.
    """

    prepared: Prepared
    image: np.ndarray | None
    milliseconds: dict[str, float]
    since: float = field(default_factory=time.perf_counter)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.prepared.planes.shape


class Network:
    """`decode` and `respond` may be called from several threads at a time, `run` and `restart` from one.

    Attributes:
        description: what there is to say of the model.

    Raises:
        UserError: it cannot be loaded.
        NetworkDied: the process died while it loaded or warmed up.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._process = NetworkProcess(settings.load, settings.sizes)
        bundle, plan = self._process.bundle, self._process.plan
        self._processor = ImageProcessor(bundle, plan.threads)
        self.description = Description(
            name=settings.name,
            class_names=bundle.class_names,
            class_colors=bundle.class_colors,
            input_shape=tuple(bundle.input_shape),
            backend=plan.backend,
            precision=plan.precision,
            device=plan.device,
            batch=plan.batch,
            has_confidence=bundle.output != "labels",
        )

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive

    def restart(self) -> None:
        """Replace the process, which has died."""
        self.close()
        self._process = NetworkProcess(self._settings.load, self._settings.sizes)

    def close(self) -> None:
        self._process.close()

    def decode(self, request: SegmentRequest) -> DecodedImage:
        """Decode the image and prepare it for the network.

        Raises:
            UserError: what is wrong with the image, or the network does not say how sure it is. The message names no
                file.
        """
        watch = Stopwatch()
        bundle = self._processor.bundle
        if _needs_confidence(request):
            self._processor.check_output(request.measure)
        try:
            image = image_files.decode(request.data, bundle.channels, bundle.image_dtype)
            watch.lap("decode")
            prepared = self._processor.prepare(image)
        except UserError as error:
            raise UserError(str(error).replace(str(bundle.description), self.description.name)) from None
        except (cv2.error, ValueError, MemoryError):
            raise UserError("this image cannot be prepared for the network") from None
        watch.lap("prepare")
        shown = bands.visible(image) if OUTPUTS[request.output].needs_image else None
        return DecodedImage(prepared, shown, watch.milliseconds)

    def most(self, shape: tuple[int, ...]) -> int:
        """How many images of that shape a batch may hold."""
        pixels = math.prod(shape) // self._processor.bundle.channels
        return max(1, min(self.description.batch, self._settings.pixels // pixels))

    def run(self, batch: Sequence[DecodedImage]) -> list[np.ndarray]:
        """What the graph ends in, for each image of a batch of one shape.

        Raises:
            NetworkDied: the process did, of this batch or otherwise.
        """
        begun = time.perf_counter()
        results = self._process.run([item.prepared for item in batch])
        ended = time.perf_counter()
        for item in batch:
            item.milliseconds |= {"wait": 1000 * (begun - item.since), "run": 1000 * (ended - begun)}
        return results

    def respond(self, request: SegmentRequest, decoded: DecodedImage, result: np.ndarray) -> SegmentResponse:
        """The label map at the image's size, in the form asked for."""
        watch = Stopwatch(decoded.milliseconds)
        label, values = self._processor.answer(result, decoded.prepared), None
        if _needs_confidence(request):
            values = self._processor.answer(result, decoded.prepared, request.measure)
            if request.unsure is not None:
                label = marked(label, values, request.measure, request.unsure, len(self.description.class_names))
        watch.lap("answer")
        segmented = Segmented(label, decoded.image, self.description, request, watch.milliseconds, values)
        content = OUTPUTS[request.output].encode(segmented)
        watch.lap("encode")
        return SegmentResponse(content, request.media_type, watch.milliseconds)


def _needs_confidence(request: SegmentRequest) -> bool:
    return request.unsure is not None or OUTPUTS[request.output].needs_confidence


class Stopwatch:
    """Times of stages, one after the other."""

    def __init__(self, milliseconds: dict[str, float] | None = None) -> None:
        self.milliseconds = {} if milliseconds is None else milliseconds
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The stage of that name ends now, and the next one begins."""
        now = time.perf_counter()
        self.milliseconds[stage] = 1000 * (now - self._since)
        self._since = now
