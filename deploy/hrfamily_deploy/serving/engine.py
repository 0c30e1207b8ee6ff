"""An engine runs one model: it takes the file of an image, and gives the content of a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hrfamily_deploy.imaging.confidence import MEASURES


@dataclass(frozen=True)
class Description:
    """What clients are told of a model.

    Attributes:
        name: in addresses.
        class_names, class_colors: one each per class, RGB.
        input_shape: (N, C, H, W) of the graph, -1 where open.
        backend, precision, device: how it is run.
        batch: images that are run at a time, at most.
        has_confidence: whether it can say how sure it is.
    """

    name: str
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    input_shape: tuple[int, ...]
    backend: str
    precision: str
    device: str
    batch: int
    has_confidence: bool = False


@dataclass(frozen=True)
class SegmentRequest:
    """A request that has passed the limits.

    Attributes:
        data: the image's file.
        output: the name of one of `serving.outputs`.
        opacity: of an overlay's colours, 0..1.
        media_type: of the answer: one of the output's.
        measure: of confidence: one of `imaging.confidence.MEASURES`.
        unsure: its threshold, 0..1, on whose wrong side pixels are unsure; None for none.
    """

    data: bytes
    output: str = "labels"
    opacity: float = 0.4
    media_type: str = "image/png"
    measure: str = MEASURES[0]
    unsure: float | None = None


@dataclass(frozen=True)
class SegmentResponse:
    """The content of a response, and what each stage took."""

    content: bytes
    media_type: str
    milliseconds: Mapping[str, float]


class Engine(Protocol):
    """Runs one model. `LocalEngine` runs it on this machine, `ReplicatedEngine` on a Ray cluster."""

    name: str

    async def start(self) -> Description:
        """Load and warm up.

        Raises:
            UserError: there is no such model, or it cannot be run like that here.
        """

    async def segment(self, request: SegmentRequest) -> SegmentResponse:
        """The response. Cancelling takes the request out of the queue.

        Raises:
            UserError: what is wrong with the image. The message names no file.
            serving.refusals.Refusal: the request cannot be answered for another reason, as where a replica died.
        """

    async def close(self) -> None:
        """Give back what `start` took. It is called when no request is in hand any more."""
