"""Losses that derive from the labels what each output is to learn."""

from paddle_hrfamily.losses.depth import DepthLoss

__all__ = ["DepthLoss"]
