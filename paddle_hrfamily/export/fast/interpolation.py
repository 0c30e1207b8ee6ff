"""Bilinear resizing as a product of matrices: rows, then columns, each with a matrix of two weights a row.

A runtime multiplies matrices at full speed, where its resizing of many channels takes 1 to 3 ns a value; and several
maps that are to be added come to one product, over all their rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
import paddle

Extent = Union[int, paddle.Tensor]


@paddle.jit.not_to_static  # the extents decide between a constant and operators in the exported graph
def resized_sum(maps: Sequence[paddle.Tensor], reference: paddle.Tensor) -> paddle.Tensor:
    """The sum of maps (N, C, h_i, w_i), each resized to the height and width of `reference`: (N, C, H, W).

    As `layers.resize_as` without align_corners. Channels are kept last between, as runtimes keep them in memory.
    """
    height, width = _extents(reference)
    extents = [_extents(x) for x in maps]
    widened = [
        paddle.matmul(weights(width, [columns]), x.transpose([0, 2, 3, 1]))  # (N, h_i, W, C)
        for x, (_, columns) in zip(maps, extents)
    ]
    stacked = paddle.concat([x.reshape([0, -1, _flat(x)]) for x in widened], axis=1)  # (N, Σ h_i, W·C)
    total = paddle.matmul(weights(height, [rows for rows, _ in extents]), stacked)  # (N, H, W·C)
    return total.reshape([0, -1, width, maps[0].shape[1]]).transpose([0, 3, 1, 2])


def weights(target: Extent, sources: Sequence[Extent]) -> paddle.Tensor:
    """(target, Σ sources), side by side for each source: row i holds what its positions give to target position i.

    Positions are pixel centres. Extents that are numbers make one constant.
    """
    if all(isinstance(extent, int) for extent in (target, *sources)):
        return paddle.to_tensor(np.concatenate([_constant(target, source) for source in sources], axis=1))
    return paddle.concat([_computed(target, source) for source in sources], axis=1)


def _constant(target: int, source: int) -> np.ndarray:
    position = (np.arange(target) + 0.5) * source / target - 0.5
    distance = np.abs(position.clip(0, source - 1)[:, None] - np.arange(source))
    return np.maximum(0, 1 - distance).astype(np.float32)


def _computed(target: Extent, source: Extent) -> paddle.Tensor:
    target, source = (
        paddle.full([1], extent, "float32") if isinstance(extent, int) else extent.astype("float32")
        for extent in (target, source)
    )
    position = (paddle.arange(0, target, 1, dtype="float32") + 0.5) * (source / target) - 0.5
    position = paddle.minimum(position.clip(min=0.0), source - 1)
    distance = paddle.abs(position.unsqueeze(1) - paddle.arange(0, source, 1, dtype="float32").unsqueeze(0))
    return (1 - distance).clip(min=0.0)


def _extents(x: paddle.Tensor) -> list[Extent]:
    """Height and width, as numbers where the graph knows them."""
    if min(x.shape[2:]) > 0:
        return list(x.shape[2:])
    shape = paddle.shape(x)
    return [x.shape[axis] if x.shape[axis] > 0 else shape[axis] for axis in (2, 3)]


def _flat(x: paddle.Tensor) -> Extent:
    width = x.shape[2] if x.shape[2] > 0 else paddle.shape(x)[2]
    return width * x.shape[3]
