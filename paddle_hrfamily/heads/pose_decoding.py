"""From heatmaps to joints (HRNet section 4): arg-max, quarter offset, average with the flipped image's heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle

from paddle_hrfamily.errors import UserError

Pairs = Sequence[tuple[int, int]]

# Joints that change places when a person is mirrored, by data set: 17 joints of COCO, 16 of MPII.
FLIP_PAIRS: dict[str, Pairs] = {
    "coco": tuple((left, left + 1) for left in range(1, 17, 2)),
    "mpii": ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
}


def decode(heatmaps: paddle.Tensor, stride: int = 4) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Where each joint is: heatmaps (N, K, h, w) -> positions x, y (N, K, 2) in pixels of the image, scores (N, K).

    The highest cell, moved a quarter of a cell along each axis towards its higher neighbour; a cell at the edge, with
    one neighbour, stays. A map without a positive value gives (0, 0). (The official code leaves the second row
    and column from the top and left as they are, too.)
    """
    peaks = find_peaks(heatmaps)
    return (peaks.cells + peaks.quarters * peaks.inside) * peaks.found * stride, peaks.scores


class Peaks(NamedTuple):
    """The highest cell of each heatmap. All but `scores` (N, K) have x and y last, (N, K, 2), or (N, K, 1)."""

    cells: paddle.Tensor  # column and row
    quarters: paddle.Tensor  # ±1/4 towards the higher neighbour on each axis, 0 between equal ones
    inside: paddle.Tensor  # 1 where the cell has both neighbours on that axis, else 0
    found: paddle.Tensor  # 1 where the map has a positive value, else 0
    scores: paddle.Tensor


def find_peaks(heatmaps: paddle.Tensor) -> Peaks:
    """What pose and landmark networks take from their heatmaps (N, K, h, w)."""
    height, width = heatmaps.shape[2:]
    flat = heatmaps.flatten(2)
    scores, best = flat.max(axis=-1), flat.argmax(axis=-1)
    cells = paddle.stack([best % width, best // width], axis=-1)
    inside = paddle.logical_and(cells > 0, cells < paddle.to_tensor([width - 1, height - 1], cells.dtype))
    quarters = paddle.stack([_quarter(flat, best, 1), _quarter(flat, best, width)], axis=-1)
    found = (scores > 0).unsqueeze(-1)
    return Peaks(cells.astype(flat.dtype), quarters, inside.astype(flat.dtype), found.astype(flat.dtype), scores)


def _quarter(flat: paddle.Tensor, best: paddle.Tensor, step: int) -> paddle.Tensor:
    """±1/4 or 0 (N, K), along the axis on which neighbours are `step` apart in `flat` (N, K, cells)."""
    last = flat.shape[-1] - 1
    before, after = (
        paddle.take_along_axis(flat, (best + by).clip(0, last).unsqueeze(-1), axis=-1).squeeze(-1)
        for by in (-step, step)
    )
    return 0.25 * paddle.sign(after - before)


def flip_average(
    heatmaps: paddle.Tensor, of_flipped: paddle.Tensor, pairs: Pairs, *, shift: bool = True
) -> paddle.Tensor:
    """Average of an image's heatmaps (N, K, h, w) and those of its mirror image, brought back.

    Args:
        heatmaps, of_flipped: of an image, and of the same image flipped left to right.
        pairs: joints that are each other's mirror image, such as FLIP_PAIRS["coco"].
        shift: move the mirrored maps one cell to the right. Cells of a strided network start at the left edge of what
            they see, so that mirrored ones lie nearly a cell further left.

    Raises:
        UserError: a pair names a joint that there is not.
    """
    joints = heatmaps.shape[1]
    order = list(range(joints))
    for left, right in pairs:
        if not (0 <= left < joints and 0 <= right < joints):
            raise UserError(f"pair ({left}, {right}) names a joint that there is not: there are 0 to {joints - 1}")
        order[left], order[right] = right, left
    back = paddle.index_select(of_flipped, paddle.to_tensor(order), axis=1).flip(axis=[3])
    if shift:
        back = paddle.concat([back[..., :1], back[..., :-1]], axis=3)
    return (heatmaps + back) * 0.5
