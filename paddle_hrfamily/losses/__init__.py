"""Losses: of hard pixels, of regions, of depth; and what derives from the labels what each output is to learn."""

from paddle_hrfamily.losses.depth import DepthLoss
from paddle_hrfamily.losses.dice import BatchDiceLoss
from paddle_hrfamily.losses.hard_pixels import WeightedOhemCrossEntropyLoss, WeightedPixelCrossEntropyLoss

__all__ = ["BatchDiceLoss", "DepthLoss", "WeightedOhemCrossEntropyLoss", "WeightedPixelCrossEntropyLoss"]
