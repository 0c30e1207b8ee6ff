"""PaddleSeg's training loop, on a Paddle whose losses have no axis and whose to_static has two ways."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import paddle

from paddle_hrfamily.host.overlay import Overlay, borrowed, core_module, wrap


def losses_with_an_axis() -> None:
    """Symptom: IndexError at the first log line. Cause: `l[0]` on losses that have no axis since Paddle 2.5.

    Goes with PaddleSeg > 2.8.0 (its source then has no `l[0]`). Models that compute their own losses are covered too.
    """
    import paddleseg.core

    train = core_module("train")
    if "l[0]" not in inspect.getsource(train.train):
        return
    wrap(train, "loss_computation", _with_axis)
    wrap(train, "train", _own_losses_with_axis)
    paddleseg.core.train = train.train


def _with_axis(loss_computation: Callable) -> Callable:
    def shaped(*args: object, **kwargs: object) -> list[paddle.Tensor]:
        return [loss.reshape([1]) for loss in loss_computation(*args, **kwargs)]

    return shaped


def _own_losses_with_axis(train: Callable) -> Callable:
    def shaped(model: paddle.nn.Layer, *args: object, **kwargs: object) -> None:
        if not hasattr(model, "loss_computation"):
            return train(model, *args, **kwargs)
        model.loss_computation = _with_axis(model.loss_computation)  # shadows the method, on this instance alone
        try:
            return train(model, *args, **kwargs)
        finally:
            del model.loss_computation

    return shaped


def whole_graphs() -> None:
    """Symptom: with `to_static_training: True`, InnerError or AttributeError from inside Paddle, and long waits.

    Cause: since Paddle 2.6 `to_static` follows byte code by default, and loses its way. PaddleSeg 2.8.0 was written
    when it converted the source instead, into one graph. Goes when PaddleSeg asks for that, with `full_graph=True`.
    """
    import paddleseg.core

    train = core_module("train")
    wrap(train, "train", _converting_the_source)
    paddleseg.core.train = train.train


def _converting_the_source(train: Callable) -> Callable:
    jit = Overlay(paddle.jit, to_static=functools.partial(paddle.jit.to_static, full_graph=True))

    def trained(*args: object, **kwargs: object) -> None:
        module = core_module("train")
        with borrowed(module, paddle=Overlay(module.paddle, jit=jit)):  # which may have been lent to it already
            return train(*args, **kwargs)

    return trained
