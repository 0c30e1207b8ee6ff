"""PaddleSeg's training loop, on a Paddle whose losses have no axis."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import paddle

from paddle_hrfamily.host.overlay import core_module, wrap


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
