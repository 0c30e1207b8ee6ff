"""Losses: of hard pixels, of regions, of depth; and what derives from the labels what each output is to learn."""

from paddle_hrfamily.losses.depth import DepthLoss
from paddle_hrfamily.losses.dice import BatchDiceLoss
from paddle_hrfamily.losses.hard_pixels import WeightedOhemCrossEntropyLoss, WeightedPixelCrossEntropyLoss
from paddle_hrfamily.losses.smoothed import SmoothedCrossEntropyLoss

__all__ = [
    "BatchDiceLoss",
    "DepthLoss",
    "SmoothedCrossEntropyLoss",
    "WeightedOhemCrossEntropyLoss",
    "WeightedPixelCrossEntropyLoss",
]
