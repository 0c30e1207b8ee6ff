"""Labels as a pyramid of cells, and what each level of it is to learn: Specialize and Fuse, sections 3.1 and 3.2.

A cell of stride s is a patch of s×s pixels. It is a unity-cell if its labelled pixels share one class, a mix-cell if
they do not. Levels are counted from the coarsest, as in the paper; a map is (N, 1, h, w). Where the paper is silent:

* An ignored pixel has no class to disagree with, as nothing is evaluated there: a cell is judged by its labelled
  pixels, and one that has none is ignored by every loss. So an ignored cell has ignored children only, and relabelling
  finds nothing to do below it.
* A mix-cell has no label. The finest level's cells are "assumed to be unity-cells", for nothing finer follows: there a
  mix-cell has the label of its centre pixel. Without it, an object thinner than a cell would be learned nowhere. So
  the pyramid of the truth, fused, is the label map sampled at the centres of the finest cells.
* A unity-cell is a true positive if its predicted probability reaches the threshold of the fusion: the cells that
  training skips are the ones that inference takes from a coarser level. Its class need not be right.
* A cell that reaches over the image's edge is judged by its pixels within the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import paddle
from paddle.nn import functional as F

# Which cells are left out because a coarser level covers them (table 7): none; all below a true unity-cell; or all
# below one that is also predicted as such, because inference takes only those from the coarser level.
Relabelling = Literal["naive", "simple_fix", "coarser_true_positives"]
RELABELLINGS: tuple[Relabelling, ...] = ("naive", "simple_fix", "coarser_true_positives")

UNITY, MIX, UNKNOWN = 1, 0, -1  # what a cell of a true unity pyramid is

Criterion = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


class Pyramid(NamedTuple):
    """Both pyramids, coarsest level first.

    As truth: classes with an ignored value, and UNITY, MIX or UNKNOWN, int64 (N, 1, h, w). As prediction: logits
    (N, K, h, w) and (N, 1, h, w). The finest level has no unity: all of its cells are taken for unity-cells.
    """

    semantic: list[paddle.Tensor]  # one for each level
    unity: list[paddle.Tensor]  # one for each level but the finest


def pyramid_losses(
    predicted: Pyramid,
    label: paddle.Tensor,
    strides: Sequence[int],
    criterion: Criterion,
    *,
    relabelling: Relabelling,
    threshold: float,
    ignore_index: int,
) -> Pyramid:
    """The terms of equation 1, whose sum is the loss: one number for each level of each pyramid.

    Args:
        predicted: logits, as the heads give them.
        label: (N, H, W) classes. At a size other than the image's, it is sampled at the nearest pixel centres: the
            image was resized for the coarsest cells to fit in (section 3.1).
        strides: finest first.
        criterion: the loss of (N, K, h, w) logits and (N, h, w) labels; takes the place of CE.
        relabelling, threshold, ignore_index: as in `relabel`.
    """
    finest = predicted.semantic[-1]
    label = sample(label, finest.shape[2] * strides[0], finest.shape[3] * strides[0])
    with paddle.no_grad():
        truth = relabel(
            truth_pyramid(label, strides, ignore_index),
            [F.sigmoid(logits) for logits in predicted.unity],
            strides,
            relabelling,
            threshold,
            ignore_index,
        )
    semantic = [criterion(logits, level.squeeze(1)) for logits, level in zip(predicted.semantic, truth.semantic)]
    unity = [_unity_loss(logits, level) for logits, level in zip(predicted.unity, truth.unity)]
    return Pyramid([loss / len(semantic) for loss in semantic], [loss / len(unity) for loss in unity])


def truth_pyramid(label: paddle.Tensor, strides: Sequence[int], ignore_index: int) -> Pyramid:
    """Y and U of section 3.1 for labels (N, H, W); strides are finest first, maps (N, 1, ceil(H/s), ceil(W/s))."""
    label = _whole_cells(label.unsqueeze(1).astype("int64"), strides[-1], ignore_index)
    ignored = label == ignore_index
    # Where no pixel is labelled, `low` stays above every class and `high` below.
    low = paddle.where(ignored, paddle.full_like(label, np.iinfo("int32").max), label)
    high = paddle.where(ignored, paddle.full_like(label, np.iinfo("int32").min), label)
    semantic: list[paddle.Tensor] = []
    unity: list[paddle.Tensor] = []
    for stride, ratio in zip(strides, (strides[0], *ratios(strides))):
        low, high = _cells(low, ratio).min(axis=[3, 5]), _cells(high, ratio).max(axis=[3, 5])
        half = stride // 2
        other = label[:, :, half::stride, half::stride] if not semantic else paddle.full_like(high, ignore_index)
        semantic.insert(0, paddle.where(low == high, high, other))
        kind = paddle.where(low == high, paddle.full_like(high, UNITY), paddle.full_like(high, MIX))
        unity.insert(0, paddle.where(low > high, paddle.full_like(high, UNKNOWN), kind))
    return Pyramid(semantic, unity[:-1])


def relabel(
    truth: Pyramid,
    probabilities: Sequence[paddle.Tensor],
    strides: Sequence[int],
    relabelling: Relabelling,
    threshold: float,
    ignore_index: int,
) -> Pyramid:
    """`truth` without the cells that a coarser level has done: their class ignored, their unity UNKNOWN.

    Args:
        truth: what `truth_pyramid` makes.
        probabilities: predicted unity of each level but the finest, (N, 1, h, w).
        strides: of the levels, finest first.
        relabelling: which cells are done.
        threshold: τ, the probability from which a cell is taken for a unity-cell.
        ignore_index: the ignored class.
    """
    if relabelling == "naive":
        return truth
    claims = [level == UNITY for level in truth.unity]
    if relabelling == "coarser_true_positives":
        claims = [paddle.logical_and(claim, p >= threshold) for claim, p in zip(claims, probabilities)]
    done = done_by_coarser(claims, strides)
    return Pyramid(_without(truth.semantic, done, ignore_index), _without(truth.unity, done, UNKNOWN))


def done_by_coarser(claims: Sequence[paddle.Tensor], strides: Sequence[int]) -> list[paddle.Tensor]:
    """For each level but the coarsest, the cells of which a predecessor at any coarser level is claimed.

    Args:
        claims: bool (N, 1, h, w) of each level but the finest, coarsest first.
        strides: of the levels, finest first.
    """
    done: list[paddle.Tensor] = []
    for claim, scale in zip(claims, ratios(strides)[::-1]):
        taken = paddle.logical_or(claim, done[-1]) if done else claim
        done.append(enlarge(taken.astype("float32"), scale) > 0.5)
    return done


def enlarge(x: paddle.Tensor, scale: int) -> paddle.Tensor:
    """Each cell's value for all of its children: (N, C, h, w) -> (N, C, h·scale, w·scale)."""
    return F.interpolate(x, scale_factor=scale, mode="nearest")


def ratios(strides: Sequence[int]) -> list[int]:
    """How many times coarser each stride is than the one before it."""
    return [coarse // fine for fine, coarse in zip(strides, strides[1:])]


def sample(label: paddle.Tensor, height: int, width: int) -> paddle.Tensor:
    """Labels (N, H, W) at the pixels nearest to the centres of a height×width grid."""
    for axis, length in ((1, height), (2, width)):
        old = label.shape[axis]
        if old != length:
            nearest = ((np.arange(length) + 0.5) * old / length).astype("int64")
            label = paddle.index_select(label, paddle.to_tensor(nearest), axis=axis)
    return label


def _whole_cells(label: paddle.Tensor, stride: int, ignore_index: int) -> paddle.Tensor:
    """Ignored pixels at the lower and right edge, up to whole cells of the coarsest level."""
    height, width = label.shape[2:]
    beyond = [0, 0, 0, 0, 0, -height % stride, 0, -width % stride]
    return F.pad(label, beyond, value=ignore_index) if any(beyond) else label


def _cells(x: paddle.Tensor, size: int) -> paddle.Tensor:
    """(N, 1, H, W) -> (N, 1, H/size, size, W/size, size)."""
    n, c, height, width = x.shape
    return x.reshape([n, c, height // size, size, width // size, size])


def _without(levels: Sequence[paddle.Tensor], done: Sequence[paddle.Tensor], value: int) -> list[paddle.Tensor]:
    """The levels with `value` where they are done; nothing is coarser than the first."""
    rest = [paddle.where(mask, paddle.full_like(level, value), level) for level, mask in zip(levels[1:], done)]
    return [*levels[:1], *rest]


def _unity_loss(logits: paddle.Tensor, truth: paddle.Tensor) -> paddle.Tensor:
    """Binary cross entropy, the mean over the cells whose unity is known; 0 where none is."""
    known = (truth != UNKNOWN).astype("float32")
    target = (truth == UNITY).astype("float32")
    losses = F.binary_cross_entropy_with_logits(logits.astype("float32"), target, reduction="none")
    return (losses * known).sum() / known.sum().clip(min=1)
