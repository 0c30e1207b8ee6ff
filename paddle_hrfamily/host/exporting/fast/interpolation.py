"""Bilinear resizing as a product of matrices: rows, then columns, each with a matrix of two weights a row.

A runtime multiplies matrices at full speed, where its resizing of many channels takes 1 to 3 ns a value; and several
maps that are to be added come to one product, over all their rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle


@paddle.jit.not_to_static  # the extents decide between a constant and operators in the exported graph
def resized_sum(maps: Sequence[paddle.Tensor], reference: paddle.Tensor) -> paddle.Tensor:
    """The sum of maps (N, C, h_i, w_i), each resized to the height and width of `reference`: (N, C, H, W).

    As `layers.resize_as` without align_corners. Channels are kept last between, as runtimes keep them in memory.
    """
    height, width = _extents(reference)
    widened, downward = [], []
    for x in maps:
        rows, columns = _extents(x)
        widened.append(paddle.matmul(weights(width, columns), x.transpose([0, 2, 3, 1])))  # (N, h_i, W, C)
        downward.append(weights(height, rows))
    stacked = paddle.concat([x.reshape([0, -1, _flat(x)]) for x in widened], axis=1)  # (N, Σ h_i, W·C)
    total = paddle.matmul(paddle.concat(downward, axis=1), stacked)  # (N, H, W·C)
    return total.reshape([0, -1, width, maps[0].shape[1]]).transpose([0, 3, 1, 2])


def weights(target: int | paddle.Tensor, source: int | paddle.Tensor) -> paddle.Tensor:
    """(target, source): row i holds what each source position gives to target position i, half-pixel centres."""
    if isinstance(target, int) and isinstance(source, int):
        position = (np.arange(target) + 0.5) * source / target - 0.5
        distance = np.abs(position.clip(0, source - 1)[:, None] - np.arange(source))
        return paddle.to_tensor(np.maximum(0, 1 - distance).astype(np.float32))
    target, source = (
        paddle.full([1], extent, "float32") if isinstance(extent, int) else extent.astype("float32")
        for extent in (target, source)
    )
    position = (paddle.arange(0, target, 1, dtype="float32") + 0.5) * (source / target) - 0.5
    position = paddle.minimum(position.clip(min=0.0), source - 1)
    distance = paddle.abs(position.unsqueeze(1) - paddle.arange(0, source, 1, dtype="float32").unsqueeze(0))
    return (1 - distance).clip(min=0.0)


def _extents(x: paddle.Tensor) -> list:
    """Height and width, as numbers where the graph knows them."""
    shape = paddle.shape(x) if min(x.shape[2:]) < 0 else None
    return [x.shape[axis] if x.shape[axis] > 0 else shape[axis] for axis in (2, 3)]


def _flat(x: paddle.Tensor) -> int | paddle.Tensor:
    width = x.shape[2] if x.shape[2] > 0 else paddle.shape(x)[2]
    return width * x.shape[3]
