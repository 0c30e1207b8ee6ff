"""Depth regression: the error over the pixels that were measured.

The U-HRNet paper names no loss for depth. It follows "the implementation in [65]" (MTI-Net, section 5.2), whose code
takes the mean absolute error; that is the default here.
"""

from __future__ import annotations

import paddle
from paddle import nn

from paddle_hrfamily import registry
from paddle_hrfamily.errors import UserError, unknown

KINDS = ("l1", "l2", "berhu")


@registry.loss
class DepthLoss(nn.Layer):
    """Mean error over the measured pixels of a batch, 0 if it has none.

    Args:
        kind: "l1", "l2", or "berhu": as l1 up to a fifth of the batch's largest error, quadratic beyond.
        max_depth: metres; what is farther counts as not measured, padding with 255 included.
        ignore_index: the depth that stands for "not measured" (PaddleSeg hands every loss its data set's).

    Raises:
        UserError: unknown kind; in use, depth of whole numbers.
    """

    def __init__(self, kind: str = "l1", max_depth: float = 10.0, ignore_index: float = 0) -> None:
        super().__init__()
        if kind not in KINDS:
            raise unknown("kind of DepthLoss", kind, KINDS)
        self.kind = kind
        self.max_depth = max_depth
        self.ignore_index = ignore_index

    def forward(self, predicted: paddle.Tensor, depth: paddle.Tensor) -> paddle.Tensor:
        """predicted (N, 1, H, W), depth (N, H, W) or (N, 1, H, W), both metres -> a number."""
        if not depth.is_floating_point():
            raise UserError(
                f"DepthLoss: the depth is {depth.dtype}, so centimetres are lost; the model must be HRDepth, which "
                f"keeps PaddleSeg from making whole numbers of it"
            )
        predicted = predicted.astype("float32")
        depth = depth.astype("float32").reshape(predicted.shape)
        measured = (depth != self.ignore_index) & (depth > 0) & (depth <= self.max_depth)
        measured = measured.astype("float32")
        error = (predicted - depth).abs() * measured
        if self.kind == "l2":
            error = error.square()
        elif self.kind == "berhu":
            error = _berhu(error)
        return error.sum() / measured.sum().clip(min=1)


def _berhu(error: paddle.Tensor) -> paddle.Tensor:
    limit = (error.detach().max() / 5).clip(min=1e-6)
    return paddle.where(error <= limit, error, (error.square() + limit.square()) / (2 * limit))
