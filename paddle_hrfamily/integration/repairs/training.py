"""PaddleSeg's training loop, on a Paddle whose losses have no axis and whose to_static has two ways."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import paddle

from paddle_hrfamily.patching import Overlay, core_module, patched, wrap, wrap_core


def losses_with_an_axis() -> None:
    """The loop takes `l[0]` of losses, which have no axis since Paddle 2.5; also of those that a model computes."""
    if "l[0]" not in inspect.getsource(core_module("train").train):
        return
    wrap(core_module("train"), "loss_computation", _with_axis)
    wrap_core("train", "train", _own_losses_with_axis)


def _with_axis(loss_computation: Callable) -> Callable:
    def shaped(*args: object, **kwargs: object) -> list[paddle.Tensor]:
        return [loss.reshape([1]) for loss in loss_computation(*args, **kwargs)]

    return shaped


def _own_losses_with_axis(train: Callable) -> Callable:
    def shaped(model: paddle.nn.Layer, *args: object, **kwargs: object) -> None:
        if not hasattr(model, "loss_computation"):
            return train(model, *args, **kwargs)
        with patched(model, loss_computation=_with_axis(model.loss_computation)):  # on this instance alone
            return train(model, *args, **kwargs)

    return shaped


def whole_graphs() -> None:
    """Since Paddle 2.6 `to_static` follows byte code by default, and fails on these networks.

    PaddleSeg 2.8.0 was written when it converted the source instead, into one graph: `full_graph=True`.
    """
    wrap_core("train", "train", _converting_the_source)


def _converting_the_source(train: Callable) -> Callable:
    jit = Overlay(paddle.jit, to_static=functools.partial(paddle.jit.to_static, full_graph=True))

    def converting(*args: object, **kwargs: object) -> None:
        module = core_module("train")
        with patched(module, paddle=Overlay(module.paddle, jit=jit)):  # `module.paddle` may be an overlay already
            return train(*args, **kwargs)

    return converting
