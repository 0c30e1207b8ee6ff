"""Repairs of PaddleSeg's losses, so that each computes on both Paddle lines what it says."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.host.overlay import Overlay, borrowed, wrap

_PADDLE_2 = paddle.__version__.startswith("2.")  # by version: a trial would claim a device at import


def products_of_two_dtypes() -> None:
    """Symptom: TypeError "Type promotion". Cause: Paddle 3 refuses to add or multiply float and integer or bool.

    Cross entropy, RMI, dual task and point losses do. Within a loss Paddle 2's rule holds again: what stands on
    the right is taken in the dtype of what stands on the left. (Of two floats, as in mixed precision, both lines take
    the wider.) Goes when PaddleSeg casts there itself.
    """
    from paddleseg.cvlibs import manager

    if _PADDLE_2:
        return
    for loss in manager.LOSSES.components_dict.values():
        if loss.__module__.startswith("paddleseg."):
            wrap(loss, "forward", _by_the_left_dtype)


def _by_the_left_dtype(forward: Callable) -> Callable:
    def computed(self: nn.Layer, *args: object, **kwargs: object) -> paddle.Tensor:
        names = ("__add__", "__sub__", "__mul__", "__truediv__")
        operators = {name: _left(getattr(paddle.Tensor, name)) for name in names}
        with borrowed(paddle.Tensor, **operators):
            return forward(self, *args, **kwargs)

    return computed


def _left(operator: Callable) -> Callable:
    def operate(x: paddle.Tensor, y: object) -> paddle.Tensor:
        if isinstance(y, paddle.Tensor) and not (x.is_floating_point() and y.is_floating_point()):
            y = y.astype(x.dtype)
        return operator(x, y)

    return operate


def ohem_without_sorting() -> None:
    """Symptom: OHEM takes as long as a small network does. Cause: PaddleSeg sorts all pixels to find the threshold.

    The same loss with the `min_kept` hardest pixels alone looked for takes a third of the time. Goes with a faster one.
    """
    from paddleseg.models.losses import OhemCrossEntropyLoss

    wrap(OhemCrossEntropyLoss, "forward", _ohem)


def _ohem(_: Callable) -> Callable:
    def forward(self: nn.Layer, logit: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """logit (N, C, H, W), label (N, H, W) or (N, 1, H, W) -> mean loss over the hard pixels, no axis."""
        label = label.astype("int64").reshape([logit.shape[0], 1, *logit.shape[2:]])
        kept = label != self.ignore_index
        loss = F.cross_entropy(logit, label, ignore_index=self.ignore_index, reduction="none", axis=1)
        labelled = int(kept.sum())
        if 0 < self.min_kept < labelled:
            prob = paddle.where(kept, paddle.exp(-loss.detach()), paddle.full_like(loss, 2.0))  # unlabelled: beyond all
            hardest = paddle.topk(prob.flatten(), self.min_kept, largest=False)[0]
            kept = paddle.logical_and(kept, prob < max(self.thresh, float(hardest[-1])))
        kept = kept.astype(loss.dtype)
        return (loss * kept).mean() / (kept.mean() + self.EPS)

    return forward


def labels_left_alone() -> None:
    """Symptom: with MixedLoss, ignored pixels count as class 0 in every loss after DiceLoss, and in auxiliary heads.

    Cause: `labels[labels == ignore_index] = 0` writes into the batch. Goes when PaddleSeg copies first.
    """
    from paddleseg.models.losses import DiceLoss

    wrap(DiceLoss, "forward", _on_a_copy)


def _on_a_copy(forward: Callable) -> Callable:
    return lambda self, logits, labels: forward(self, logits, labels.clone())


def positive_weights() -> None:
    """Symptom: BCELoss with pos_weight weighs negative logits wrongly. Cause: Paddle 2's operator, on processors.

    Goes with Paddle 2.
    """
    from paddleseg.models.losses import BCELoss

    if _PADDLE_2:
        wrap(BCELoss, "forward", _with_weights_outside)


def _with_weights_outside(forward: Callable) -> Callable:
    from paddleseg.models.losses import binary_cross_entropy_loss as module

    def weighed(
        logit: paddle.Tensor,
        label: paddle.Tensor,
        weight: paddle.Tensor | None,
        reduction: str,
        pos_weight: paddle.Tensor | None,
    ) -> paddle.Tensor:
        loss = F.binary_cross_entropy_with_logits(logit, label, weight=weight, reduction=reduction)
        return loss if pos_weight is None else loss * (1 + (pos_weight - 1) * label)

    functional = Overlay(F, binary_cross_entropy_with_logits=weighed)
    ours = Overlay(paddle, nn=Overlay(paddle.nn, functional=functional))

    def computed(self: nn.Layer, logit: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        with borrowed(module, paddle=ours):
            return forward(self, logit, label)

    return computed


def relaxed_labels_in_float() -> None:
    """Symptom: RelaxBoundaryLoss has no gradient on Paddle 2, TypeError on 3, and a wrong slice with border > 1.

    Cause: integer labels times float logarithms, and slices that begin at 1 whatever the border. With
    `calculate_weights` it never ran: the flag hides the method of that name. Goes when PaddleSeg repairs them.
    """
    from paddleseg.models.losses import RelaxBoundaryLoss

    wrap(RelaxBoundaryLoss, "relax_onehot", _relaxed)
    wrap(RelaxBoundaryLoss, "__init__", _without_weights)


def _relaxed(_: Callable) -> Callable:
    def relax_onehot(self: nn.Layer, label: paddle.Tensor, num_classes: int) -> paddle.Tensor:
        """(N, H, W) or (N, 1, H, W) -> (N, num_classes + 1, H, W) float32: 1 for each class within `border`."""
        label = label.reshape([label.shape[0], *label.shape[-2:]]).astype("int64")
        label = paddle.where(label == self.ignore_index, paddle.full_like(label, num_classes), label)
        onehot = F.one_hot(label, num_classes + 1).transpose([0, 3, 1, 2])
        return F.max_pool2d(onehot, 2 * self.border + 1, stride=1, padding=self.border)

    return relax_onehot


def _without_weights(init: Callable) -> Callable:
    def build(self: nn.Layer, *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs)
        if self.calculate_weights:
            raise UserError("calculate_weights of RelaxBoundaryLoss does not work in PaddleSeg 2.8.0: leave it out")

    return build


def nothing_labelled() -> None:
    """Symptom: ValueError from reshape. Cause: the Lovász loss of a batch without labels has no element.

    Goes when PaddleSeg makes it 0.
    """
    from paddleseg.models.losses import LovaszSoftmaxLoss

    wrap(LovaszSoftmaxLoss, "forward", _zero_if_empty)


def _zero_if_empty(forward: Callable) -> Callable:
    def computed(self: nn.Layer, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        loss = forward(self, logits, labels)
        return loss if loss.size else logits.sum() * 0

    return computed


def masks_gathered_as_numbers() -> None:
    """Symptom: MaskFormerLoss finds no kernel. Cause: Paddle 2 cannot gather bool on processors. Goes with Paddle 2."""
    from paddleseg.models.losses import MaskFormerLoss

    if _PADDLE_2:
        wrap(MaskFormerLoss, "forward", _gathering_numbers)


def _gathering_numbers(forward: Callable) -> Callable:
    from paddleseg.models.losses import maskformer_loss as module

    def gather(x: paddle.Tensor, index: paddle.Tensor, axis: int = 0) -> paddle.Tensor:
        if x.dtype == paddle.bool:
            return paddle.gather(x.astype("int32"), index, axis=axis).astype("bool")
        return paddle.gather(x, index, axis=axis)

    def computed(self: nn.Layer, logits: dict, targets: dict) -> paddle.Tensor:
        with borrowed(module, paddle=Overlay(paddle, gather=gather)):
            return forward(self, logits, targets)

    return computed
