"""Average pooling to a grid of cells, in a graph that takes images of any size.

Paddle Inference on CPUs asks but once, at its first image, whether oneDNN can pool to that grid: it can where the
grid divides the map. Of a later map that it does not divide, oneDNN makes something else, on both Paddle lines. So in
graphs of open size a cell is what its definition says, the mean of rows i·H/n to (i+1)·H/n, as a product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import paddle
import paddle.nn.functional as F

from paddle_hrfamily.patching import patched


@contextmanager
def of_any_size() -> Iterator[None]:
    """Within the `with`, adaptive average pooling of a map of open size to more than one cell is such a product."""
    with patched(F, adaptive_avg_pool2d=_beside(F.adaptive_avg_pool2d)):
        yield


def _beside(pool: Callable) -> Callable:
    @paddle.jit.not_to_static
    def adaptive_avg_pool2d(
        x: paddle.Tensor, output_size: int | Sequence[int], data_format: str = "NCHW", name: str | None = None
    ) -> paddle.Tensor:
        rows, columns = [output_size] * 2 if isinstance(output_size, int) else output_size
        if min(x.shape[2:]) > 0 or None in (rows, columns) or (rows, columns) == (1, 1) or data_format != "NCHW":
            return pool(x, output_size, data_format, name)
        height, width = paddle.shape(x)[2], paddle.shape(x)[3]
        return paddle.matmul(paddle.matmul(_means(rows, height), x), _means(columns, width), transpose_y=True)

    return adaptive_avg_pool2d


def _means(cells: int, extent: paddle.Tensor) -> paddle.Tensor:
    """(cells, extent): row i averages the positions from floor(i·extent/cells) up to ceil((i + 1)·extent/cells)."""
    extent = extent.astype("int64")
    cell = paddle.arange(cells, dtype="int64").unsqueeze(1)
    position = paddle.arange(0, extent, 1, dtype="int64").unsqueeze(0)
    begin, end = cell * extent // cells, ((cell + 1) * extent + cells - 1) // cells
    inside = (position >= begin).astype("float32") * (position < end).astype("float32")
    return inside / inside.sum(axis=1, keepdim=True)
