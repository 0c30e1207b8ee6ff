"""Parameters and multiply-accumulates of a network, counted from its static graph's shapes: nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import paddle
from paddle import nn

GIBI = 2**30


@dataclass(frozen=True)
class Complexity:
    """Trainable `parameters`, and `macs`: multiply-accumulates of one image's convolutions and linear layers.

    This is what the HRNet and U-HRNet papers count: no biases, batch norm, resizing or activations.
    """

    parameters: int
    macs: int

    @property
    def giga(self) -> float:
        """The two papers' "GFLOPs": multiply-accumulates / 2^30."""
        return self.macs / GIBI


def complexity(build: Callable[[], nn.Layer], height: int, width: int, in_channels: int = 3) -> Complexity:
    """Count the network that `build` makes, in evaluation mode, at an image of height × width pixels."""
    macs = 0

    def count(layer: nn.Layer, inputs: object, output: paddle.Tensor) -> None:
        nonlocal macs
        positions = prod(output.shape[2:]) if isinstance(layer, nn.Conv2D) else 1
        macs += prod(layer.weight.shape) * positions

    with _static_graph():
        model = build()
        model.eval()
        for layer in model.sublayers():
            if isinstance(layer, (nn.Conv2D, nn.Linear)):
                layer.register_forward_post_hook(count)
        model(paddle.static.data("image", [1, in_channels, height, width], "float32"))
        return Complexity(trainable_parameters(model), macs)


def trainable_parameters(model: nn.Layer) -> int:
    """Number of trainable values; Paddle's `parameters()` alone holds batch-norm statistics as well."""
    return sum(prod(parameter.shape) for parameter in model.parameters() if parameter.trainable)


@contextmanager
def _static_graph() -> Iterator[None]:
    dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            yield
    finally:
        if dynamic:
            paddle.disable_static()
