"""Repairs of PaddleSeg's losses, so that each computes on both Paddle lines what it says."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.patching import Overlay, patched, wrap

_PADDLE_2 = paddle.__version__.startswith("2.")  # by version: a trial would claim a device at import


def region_mutual_information() -> None:
    """RMILoss multiplies float by bool."""
    from paddleseg.models.losses import RMILoss

    RMILoss.forward_sigmoid = _region_mutual_information


def _region_mutual_information(
    self: nn.Layer, logits: paddle.Tensor, labels: paddle.Tensor, do_rmi: bool = False
) -> paddle.Tensor:
    """logits (N, C, H, W) and labels (N, H, W), both float32; PaddleSeg does not use `do_rmi` either."""
    from paddleseg.models.losses.rmi_loss import _CLIP_MIN

    kept = labels != self.ignore_index
    classes = paddle.where(kept, labels, paddle.zeros_like(labels)).astype("int64")
    kept = kept.astype("float32")
    onehot = (F.one_hot(classes, self.num_classes) * kept.unsqueeze(3)).transpose([0, 3, 1, 2])
    return self.rmi_lower_bound(onehot, F.sigmoid(logits) * kept.unsqueeze(1) + _CLIP_MIN)


def dual_task() -> None:
    """DualTaskLoss multiplies float and integer by bool."""
    from paddleseg.models.losses import DualTaskLoss

    DualTaskLoss.forward = _dual_task


def _dual_task(self: nn.Layer, logit: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """logit (N, C, H, W), labels (N, H, W) or (N, 1, H, W) -> how far the edges of both are apart."""
    labels = labels.reshape([logit.shape[0], 1, *logit.shape[2:]])
    kept = labels != self.ignore_index
    classes = paddle.where(kept, labels, paddle.zeros_like(labels)).squeeze(1)
    kept = kept.astype(logit.dtype)
    edges = self.compute_grad_mag(self._gumbel_softmax_sample(logit * kept, tau=self.tau))
    true_edges = self.compute_grad_mag(F.one_hot(classes, logit.shape[1]).transpose([0, 3, 1, 2]))
    loss = F.l1_loss(edges, true_edges, reduction="none") * kept

    def mean_on(magnitude: paddle.Tensor) -> paddle.Tensor:
        on = (magnitude > 1e-8).astype(loss.dtype).detach()
        return (loss * on).sum() / on.sum().clip(min=1)

    return 0.5 * mean_on(edges) + 0.5 * mean_on(true_edges)


def labels_left_alone() -> None:
    """DiceLoss writes into the batch: `labels[labels == ignore_index] = 0`."""
    from paddleseg.models.losses import DiceLoss

    wrap(DiceLoss, "forward", _on_a_copy)


def _on_a_copy(forward: Callable) -> Callable:
    return lambda self, logits, labels: forward(self, logits, labels.clone())


def positive_weights() -> None:
    """BCELoss with pos_weight goes by an operator that is wrong in Paddle 2, on CPUs."""
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
        with patched(module, paddle=ours):
            return forward(self, logit, label)

    return computed


def relaxed_labels_in_float() -> None:
    """RelaxBoundaryLoss multiplies integer labels by float logarithms, and slices from 1 on whatever the border.

    With `calculate_weights` it never ran: the flag hides the method of that name.
    """
    from paddleseg.models.losses import RelaxBoundaryLoss

    RelaxBoundaryLoss.relax_onehot = _relax_onehot
    wrap(RelaxBoundaryLoss, "__init__", _without_weights)


def _relax_onehot(self: nn.Layer, label: paddle.Tensor, num_classes: int) -> paddle.Tensor:
    """(N, H, W) or (N, 1, H, W) -> (N, num_classes + 1, H, W) float32: 1 for each class within `border`."""
    label = label.reshape([label.shape[0], *label.shape[-2:]]).astype("int64")
    label = paddle.where(label == self.ignore_index, paddle.full_like(label, num_classes), label)
    onehot = F.one_hot(label, num_classes + 1).transpose([0, 3, 1, 2])
    return F.max_pool2d(onehot, 2 * self.border + 1, stride=1, padding=self.border)


def _without_weights(init: Callable) -> Callable:
    def build(self: nn.Layer, *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs)
        if self.calculate_weights:
            raise UserError("calculate_weights of RelaxBoundaryLoss does not work in PaddleSeg 2.8.0: leave it out")

    return build


def nothing_labelled() -> None:
    """The Lovász loss of a batch without labels has no element."""
    from paddleseg.models.losses import LovaszSoftmaxLoss

    wrap(LovaszSoftmaxLoss, "forward", _zero_if_empty)


def _zero_if_empty(forward: Callable) -> Callable:
    def computed(self: nn.Layer, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        loss = forward(self, logits, labels)
        return loss if loss.size else logits.sum() * 0

    return computed


def masks_gathered_as_numbers() -> None:
    """MaskFormerLoss gathers bool, for which Paddle 2 has no kernel on CPUs."""
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
        with patched(module, paddle=Overlay(paddle, gather=gather)):
            return forward(self, logits, targets)

    return computed
