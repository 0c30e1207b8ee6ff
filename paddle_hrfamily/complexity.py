"""Parameters and multiply-accumulates of a network, counted from its static graph's shapes: nothing is computed."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod

import paddle
from paddle import nn
from paddle.nn import functional

from paddle_hrfamily.patching import patched

GIBI = 2**30
GIGA = 10**9


@dataclass
class Complexity:
    """What one image of a network costs.

    Papers count differently, so each kind is kept by itself. Activations, and products in attention, are in none of
    their figures.

    Attributes:
        parameters: trainable values.
        macs: multiply-accumulates of convolutions and linear layers.
        biases: additions of the convolutions' biases, one per output element.
        normalised: output elements of batch norms.
        resized: output elements of bilinear resizes.
    """

    parameters: int = 0
    macs: int = 0
    biases: int = 0
    normalised: int = 0
    resized: int = 0

    @property
    def giga(self) -> float:
        """The HRNet and U-HRNet papers' "GFLOPs": multiply-accumulates / 2^30."""
        return self.macs / GIBI

    @property
    def billion(self) -> float:
        """SPGNet's "FLOPs": multiply-accumulates / 10^9."""
        return self.macs / GIGA

    @property
    def billion_with_biases(self) -> float:
        """DDRNet's "GFLOPs" in segmentation: multiply-accumulates and additions of biases / 10^9."""
        return (self.macs + self.biases) / GIGA

    @property
    def billion_by_fvcore(self) -> float:
        """DDRNet's "GFLOPs" in classification: with two operations per normalised and four per resized element."""
        return (self.macs + 2 * self.normalised + 4 * self.resized) / GIGA


def complexity(build: Callable[[], nn.Layer], height: int, width: int, in_channels: int = 3) -> Complexity:
    """Count the network that `build` makes, in evaluation mode, at an image of height × width pixels."""
    count = Complexity()

    def convolution(layer: nn.Layer, inputs: object, output: paddle.Tensor) -> None:
        count.macs += prod(layer.weight.shape) * prod(output.shape[2:])
        count.biases += 0 if layer.bias is None else prod(output.shape)

    def linear(layer: nn.Layer, inputs: object, output: paddle.Tensor) -> None:
        count.macs += prod(layer.weight.shape)

    def norm(layer: nn.Layer, inputs: object, output: paddle.Tensor) -> None:
        count.normalised += prod(output.shape)

    hooks = {nn.Conv2D: convolution, nn.Linear: linear, nn.BatchNorm2D: norm}
    with _static_graph(), _unrecorded(), _counted_resizes(count):
        model = build()
        model.eval()
        for layer in model.sublayers():
            for kind, hook in hooks.items():
                if isinstance(layer, kind):
                    layer.register_forward_post_hook(hook)
        model(paddle.static.data("image", [1, in_channels, height, width], "float32"))
        count.parameters = trainable_parameters(model)
    return count


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


@contextmanager
def _unrecorded() -> Iterator[None]:
    """Without what Paddle notes of every operator for its messages, which takes longer than the counting: the lines of
    code that made it, and the layers around it."""
    layers = importlib.import_module("paddle.nn.layer.layers")
    named = {"name_struct": lambda prefix=None: nullcontext()} if hasattr(layers, "name_struct") else {}
    with patched(traceback, extract_stack=lambda *_, **__: []), patched(layers, **named):
        yield


@contextmanager
def _counted_resizes(count: Complexity) -> Iterator[None]:
    interpolate = functional.interpolate

    def counted(*args: object, **kwargs: object) -> paddle.Tensor:
        output = interpolate(*args, **kwargs)
        count.resized += prod(output.shape) if kwargs.get("mode") == "bilinear" else 0
        return output

    with patched(functional, interpolate=counted):
        yield
