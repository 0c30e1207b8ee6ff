"""Heatmap regression of joints (HRNet section 4): the heatmaps to learn, and the weighted squared error."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn


class HeatmapLoss(nn.Layer):
    """Half the mean squared error of heatmaps, each joint's error scaled by its weight first (0: not labelled)."""

    def forward(self, heatmaps: paddle.Tensor, targets: paddle.Tensor, weights: paddle.Tensor) -> paddle.Tensor:
        """heatmaps and targets (N, K, h, w), weights (N, K) -> a number, the mean over all N·K·h·w cells."""
        error = (heatmaps - targets) * weights.unsqueeze([2, 3])
        return 0.5 * error.square().mean()


def gaussian_targets(
    joints: np.ndarray, weights: np.ndarray, size: tuple[int, int], *, stride: int = 4, sigma: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """The heatmaps to learn: a bump of height 1 around the cell nearest to each joint, 0 beyond three deviations.

    Args:
        joints: (..., K, 2) positions x, y in pixels of the image.
        weights: (..., K), how much each joint counts; 0 where it is not labelled.
        size: height and width of the heatmaps, in cells.
        stride: pixels of a cell.
        sigma: standard deviation in cells: the paper's is 2; the official code has 3 for images of 384×288.

    Returns:
        Heatmaps (..., K, height, width) and weights (..., K), both float32. A joint without weight has an empty map;
        one whose bump lies outside of the map altogether loses its weight.
    """
    height, width = size
    across = _bump(joints[..., 0], width, stride, sigma)
    down = _bump(joints[..., 1], height, stride, sigma)
    seen = across.any(axis=-1) & down.any(axis=-1)
    weights = np.where(seen, weights, 0).astype("float32")
    heatmaps = down[..., :, None] * across[..., None, :] * (weights > 0)[..., None, None]
    return heatmaps.astype("float32"), weights


def _bump(positions: np.ndarray, length: int, stride: int, sigma: float) -> np.ndarray:
    """One axis of the bumps: (..., K) pixels -> (..., K, length) heights."""
    distance = np.arange(length) - np.floor(np.asarray(positions)[..., None] / stride + 0.5)
    return np.where(np.abs(distance) <= 3 * sigma, np.exp(-(distance**2) / (2 * sigma**2)), 0)
