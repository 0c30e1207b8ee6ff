"""What a model is to the application: a picture's file goes in, the content of a response comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

OUTPUTS = ("labels", "overlay", "json")


@dataclass(frozen=True)
class Description:
    """What there is to say of a model.

    Attributes:
        name: in addresses.
        class_names, class_colors: one each per class, RGB.
        input_shape: (N, C, H, W) of the graph, -1 where open.
        backend, precision, device: as it is run.
        batch: images that are run at a time, at most.
    """

    name: str
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    input_shape: tuple[int, ...]
    backend: str
    precision: str
    device: str
    batch: int


@dataclass(frozen=True)
class Job:
    """A request that has passed the limits.

    Attributes:
        data: the picture's file.
        output: one of OUTPUTS.
        opacity: of an overlay's colours, 0..1.
        media_type: of the answer; an overlay's may be "image/jpeg" or "image/png".
    """

    data: bytes
    output: str = "labels"
    opacity: float = 0.4
    media_type: str = "image/png"


@dataclass(frozen=True)
class Answer:
    """The content of a response, and what each stage took."""

    content: bytes
    media_type: str
    milliseconds: Mapping[str, float]


class Engine(Protocol):
    """Runs one model, here or elsewhere. `serving.local.LocalEngine` is the one of this process."""

    name: str

    async def start(self) -> Description:
        """Load and warm up.

        Raises:
            UserError: there is no such model, or it cannot be run like that here.
        """

    async def segment(self, job: Job) -> Answer:
        """Cancelling it takes the job out of the queue.

        Raises:
            UserError: what is wrong with the picture. The message names no file.
            serving.refusals.Refusal: any other answer, such as that of a queue elsewhere which is full.
        """

    async def close(self) -> None:
        """Give back what `start` took. Nothing is under way any more."""
