"""What a form of answer is.

A form is one file beside this one: an `Output` that it registers. The server and the client know it once
`outputs/__init__.py` imports that file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np
from PIL import Image

from hrfamily_deploy.imaging.confidence import Classes
from hrfamily_deploy.serving.engine import Description, SegmentRequest

Schema = Mapping[str, Any]  # JSON schema, as OpenAPI has it
Decoded = Union[np.ndarray, dict[str, Any]]
BINARY: Schema = {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class Segmented:
    """A segmented image, of which an output is made.

    Attributes:
        label: (H, W) class numbers, uint8 or uint16, unsure pixels among them if the request asks for that.
        image: (H, W, 3) RGB or (H, W) grey uint8, which may be drawn into; None unless the output needs it.
        confidence: (H, W) float32 of the request's measure; None unless the output or the request needs it.
        milliseconds: what each stage took so far.
    """

    label: np.ndarray
    image: np.ndarray | None
    model: Description
    request: SegmentRequest
    milliseconds: Mapping[str, float]
    confidence: np.ndarray | None = None

    @property
    def classes(self) -> Classes:
        """What the label map's numbers stand for."""
        return Classes.of(self.model.class_names, self.model.class_colors, self.request.unsure)


@dataclass(frozen=True)
class Output:
    """A form of answer, as the server writes it and the client reads it.

    Attributes:
        name: value of the query parameter `output`, and of the client's --output.
        description: what it is, for the documentation.
        media_types: media type -> suffix of a file. The first one is the usual one.
        encode: makes the content of a response, of the media type in the request.
        decode: makes of that content what the client returns.
        lossless: the media type that has the exact values; the usual one if empty.
        needs_image: whether `encode` needs the request's image.
        needs_confidence: whether it needs the network's confidence.
        schema: of the content, in the documentation.
    """

    name: str
    description: str
    media_types: Mapping[str, str]
    encode: Callable[[Segmented], bytes]
    decode: Callable[[bytes], Decoded]
    lossless: str = ""
    needs_image: bool = False
    needs_confidence: bool = False
    schema: Schema = field(default_factory=lambda: BINARY)

    def media_type(self, accept: str) -> str:
        """The media type for a request with that header Accept: the usual one, unless only another one is named."""
        usual, *others = self.media_types
        named = [other for other in others if other in accept]
        return named[0] if named and usual not in accept else usual

    def accept(self, lossless: bool) -> str:
        """The header Accept of a client that takes any of the media types, or wants the exact values."""
        return (self.lossless or next(iter(self.media_types))) if lossless else "*/*"


OUTPUTS: dict[str, Output] = {}  # by name, in the order of the documentation


def register(output: Output) -> None:
    """Make a form of answer known. Raises ValueError if there is another one of that name."""
    if output.name in OUTPUTS:
        raise ValueError(f"there are two outputs {output.name!r}")
    OUTPUTS[output.name] = output


def pixels(content: bytes) -> np.ndarray:
    """Decode an image's file as it is: (H, W) class numbers or grey, or (H, W, 3) RGB."""
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)
