"""One step of training: the gradient of one or of several batches, and the update that it leads to.

What is computed, and in what order, is PaddleSeg's (`paddleseg.core.train`), so that a seed gives its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle
from paddle import nn

from paddle_hrfamily.patching import core_module

_WHITE = {"elementwise_add", "batch_norm", "sync_batch_norm"}  # of PaddleSeg, as the next line
_BLACK = {"bilinear_interp_v2"}
Batch = dict[str, Any]


class Step:
    """Callable with the batches of a step; returns their loss and its parts, as one batch of all of them would have.

    Args:
        model: the network, in training mode.
        network: what is called with images: the model, or the model as one of several processes sees it.
        optimizer: with a learning rate or a schedule, which every step moves on.
        losses: PaddleSeg's {"types": …, "coef": …}.
        scaler: of the loss in half precision; None computes in float32.
        amp_level: "O1" or "O2", in half precision.
    """

    def __init__(
        self,
        model: nn.Layer,
        optimizer: paddle.optimizer.Optimizer,
        losses: dict[str, Any],
        *,
        network: nn.Layer | None = None,
        scaler: paddle.amp.GradScaler | None = None,
        amp_level: str = "O1",
    ) -> None:
        self.model = model
        self.network = model if network is None else network
        self.optimizer = optimizer
        self.losses = losses
        self.scaler = scaler
        self.amp_level = amp_level

    def __call__(self, batches: Sequence[Batch]) -> tuple[float, list[float]]:
        """Update the parameters by the gradient of all batches together, then the learning rate.

        The loss of a step is that of one batch of all samples where a loss is an average over labelled pixels: those of
        batches are weighed by the pixels (and class weights) that they average over. Any other loss is averaged.
        """
        gradient = self.gradient(batches)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.minimize(getattr(self.optimizer, "user_defined_optimizer", self.optimizer), gradient[0])
        schedule = self.schedule
        if isinstance(schedule, paddle.optimizer.lr.ReduceOnPlateau):
            schedule.step(gradient[0])
        elif isinstance(schedule, paddle.optimizer.lr.LRScheduler):
            schedule.step()
        self.model.clear_gradients()
        total, *parts = gradient
        return float(total), [float(part) for part in parts]

    def gradient(self, batches: Sequence[Batch]) -> list[paddle.Tensor]:
        """Add the gradient of all batches to the parameters'. Returns the loss, then its parts."""
        shares = _shares(self.losses["types"], [batch["label"] for batch in batches]) if len(batches) > 1 else None
        totals: list[paddle.Tensor] = []
        for index, batch in enumerate(batches):
            with self._unsynchronized() if index < len(batches) - 1 else nullcontext():
                with self._mixed():
                    losses = self._losses_of(batch)
                    if shares is not None:
                        fits = not hasattr(self.model, "loss_computation") and len(losses) == len(shares[index])
                        weights = shares[index] if fits else [1 / len(batches)] * len(losses)
                        losses = [loss * weight for loss, weight in zip(losses, weights)]
                    loss = sum(losses)
                (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            found = [loss.detach(), *(part.detach() for part in losses)]
            totals = [a + b for a, b in zip(totals, found)] if totals else found
        return totals

    @property
    def schedule(self) -> object:
        """The optimizer's learning rate: a number or a schedule."""
        return getattr(self.optimizer, "user_defined_optimizer", self.optimizer)._learning_rate

    def _losses_of(self, batch: Batch) -> list[paddle.Tensor]:
        images = batch["img"]
        if getattr(self.model, "data_format", "NCHW") == "NHWC":
            images = images.transpose((0, 2, 3, 1))
        outputs = self.network(images)
        if hasattr(self.model, "loss_computation"):
            return self.model.loss_computation(outputs, self.losses, batch)
        edges = batch["edge"].astype("int64") if "edge" in batch else None
        labels = batch["label"].astype("int64")
        return core_module("train").loss_computation(outputs, labels, edges, self.losses)

    def _mixed(self) -> AbstractContextManager:
        if self.scaler is None:
            return nullcontext()
        return paddle.amp.auto_cast(
            level=self.amp_level, enable=True, custom_white_list=_WHITE, custom_black_list=_BLACK
        )

    def _unsynchronized(self) -> AbstractContextManager:
        """Processes exchange gradients once a step, with its last batch."""
        return self.network.no_sync() if hasattr(self.network, "no_sync") else nullcontext()


def _shares(losses: Sequence[nn.Layer], labels: Sequence[paddle.Tensor]) -> list[list[float]]:
    """For every batch the weight of each of its losses, in the order in which PaddleSeg lists them."""
    flat = [part for loss in losses for part in (loss.losses if type(loss).__name__ == "MixedLoss" else [loss])]
    columns = [[_averaged_over(loss, label) for label in labels] for loss in flat]
    return [
        [column[index] / sum(column) if sum(column) else 1 / len(labels) for column in columns]
        for index in range(len(labels))
    ]


# Losses that are averages over the labelled pixels; those of the first kind count class weights in.
_BY_WEIGHT = ("CrossEntropyLoss", "SmoothedCrossEntropyLoss")
_BY_PIXEL = ("FocalLoss", "MultiClassFocalLoss")


def _averaged_over(loss: nn.Layer, label: paddle.Tensor) -> float:
    """The sum of weights that a loss divides by on these labels, in units of its own; 1 where it is no such average."""
    name = type(loss).__name__
    of_all = getattr(loss, "top_k_percent_pixels", 1.0) == 1.0 and getattr(loss, "avg_non_ignore", True)
    if name not in (*_BY_WEIGHT, *_BY_PIXEL) or not of_all:
        return 1.0
    label = label.astype("int64")
    labelled = label != loss.ignore_index
    weight = getattr(loss, "weight", None) if name in _BY_WEIGHT else None
    if weight is None:
        return float(labelled.astype("float64").sum())
    known = paddle.where(labelled, label, paddle.zeros_like(label))
    return float((paddle.gather(weight, known.flatten()).reshape(label.shape) * labelled.astype("float32")).sum())
