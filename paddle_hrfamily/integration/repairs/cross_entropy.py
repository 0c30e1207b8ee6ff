"""PaddleSeg's cross entropies, written so that no operation mixes float with integer or bool, and without sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_hrfamily.patching import wrap


def of_all_pixels() -> None:
    """CrossEntropyLoss and DistillCrossEntropyLoss, which share this part."""
    from paddleseg.models.losses import CrossEntropyLoss

    CrossEntropyLoss._post_process_loss = _mean_over_pixels


def _mean_over_pixels(
    self: nn.Layer,
    logit: paddle.Tensor,
    label: paddle.Tensor,
    semantic_weights: paddle.Tensor | None,
    loss: paddle.Tensor,
) -> paddle.Tensor:
    """Mean of the losses, weighted by class, over the labelled pixels, or over those where the loss is greatest.

    Args:
        logit: (..., C).
        label: (...), int64.
        semantic_weights: (...), a weight of each pixel.
        loss: (...) or (..., 1).
    """
    kept = label != self.ignore_index
    mask = kept.astype(loss.dtype) if getattr(self, "avg_non_ignore", True) else paddle.ones(label.shape, loss.dtype)
    loss = loss.reshape(label.shape) * mask
    if semantic_weights is not None:
        loss = loss * semantic_weights.astype(loss.dtype)
    coef = paddle.ones_like(loss)
    if self.weight is not None:
        coef = paddle.gather(self.weight, paddle.where(kept, label, paddle.zeros_like(label)).flatten())
        coef = coef.reshape(label.shape).astype(loss.dtype)
    coef.stop_gradient = True
    if self.top_k_percent_pixels == 1.0:
        return loss.mean() / ((mask * coef).mean() + self.EPS)
    loss, hardest = paddle.topk(loss.flatten(), int(self.top_k_percent_pixels * label.size))
    return loss.mean() / (paddle.gather(coef.flatten(), hardest).mean() + self.EPS)


def of_points() -> None:
    """PointCrossEntropyLoss, which computes the same of labels sampled at points."""
    from paddleseg.models.losses import PointCrossEntropyLoss

    PointCrossEntropyLoss.forward = _of_points


def _of_points(
    self: nn.Layer,
    logits: Sequence[paddle.Tensor],
    label: paddle.Tensor,
    semantic_weights: paddle.Tensor | None = None,
) -> paddle.Tensor:
    """logits: (N, C, P) and the points (N, P, 2), 0..1 each; label (N, H, W); semantic_weights (N, P)."""
    from paddleseg.models.losses.point_cross_entropy_loss import point_sample

    logit, points = logits
    plane = label.unsqueeze(1).astype("float32")
    label = point_sample(plane, points, mode="nearest", align_corners=self.align_corners)
    label = label.squeeze(1).astype("int64")  # (N, P)
    logit = logit.transpose([0, 2, 1])  # (N, P, C)
    loss = F.cross_entropy(logit, label, weight=self.weight, ignore_index=self.ignore_index, reduction="none")
    return _mean_over_pixels(self, logit, label, semantic_weights, loss)


def of_hard_pixels() -> None:
    """OhemCrossEntropyLoss, and OhemEdgeAttentionLoss, which computes the same of the pixels on edges."""
    from paddleseg.models.losses import OhemCrossEntropyLoss, OhemEdgeAttentionLoss

    OhemCrossEntropyLoss.forward = _of_hard_pixels
    wrap(OhemEdgeAttentionLoss, "forward", _of_hard_edges)


def _of_hard_pixels(self: nn.Layer, logit: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
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


def _of_hard_edges(forward: Callable) -> Callable:
    def computed(self: nn.Layer, logits: Sequence[paddle.Tensor], label: paddle.Tensor) -> paddle.Tensor:
        """logits: (N, C, H, W) of the classes and (N, 1, H, W) of being an edge."""
        logit, edge = logits
        label = label.astype("int64").reshape([logit.shape[0], 1, *label.shape[-2:]])
        if edge.shape != label.shape:
            return forward(self, logits, label)  # which refuses it
        off = paddle.full_like(label, self.ignore_index)
        return _of_hard_pixels(self, logit, paddle.where(edge > self.edge_threshold, label, off))

    return computed
