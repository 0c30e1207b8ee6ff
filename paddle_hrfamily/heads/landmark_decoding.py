"""From heatmaps to facial landmarks (HRNet appendix B; official code: HRNet-Facial-Landmark-Detection)."""

from __future__ import annotations

import paddle

from paddle_hrfamily.heads.pose_decoding import find_peaks


def decode_landmarks(heatmaps: paddle.Tensor, stride: int = 4) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Where each landmark is: heatmaps (N, K, h, w) -> x, y (N, K, 2) in pixels of the crop, scores (N, K).

    The highest cell, moved a quarter of a cell towards its higher neighbours, as in pose estimation, but for two
    things: a cell at any edge stays on both axes, and a position is in the middle of its cell, because these networks
    are trained on the cell that holds the landmark, not on the one whose corner is nearest. x and y are counted from
    the crop's left and upper edge. (The official evaluation carries them into the photograph, cuts them to whole pixels
    and adds one.) A map without a positive value gives (0, 0).
    """
    peaks = find_peaks(heatmaps)
    quarters = peaks.quarters * peaks.inside.min(axis=-1, keepdim=True)
    return (peaks.cells + quarters + 0.5) * peaks.found * stride, peaks.scores
