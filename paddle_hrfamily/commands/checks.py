"""What `train` and `val` look at and log before they begin."""

from __future__ import annotations

import paddle
from paddleseg.utils import logger

from paddle_hrfamily.data.label_checks import LabelScan, check_labels


def mention_precision(precision: str) -> None:
    """Log it if mixed precision was asked for and this device has none: Paddle goes on in float32 without it."""
    if precision == "fp16" and paddle.device.get_device() == "cpu":
        logger.warning("--precision fp16 has no effect on a CPU: Paddle computes in float32 there")


def look_at_labels(dataset: paddle.io.Dataset | None) -> LabelScan | None:
    """Log what `check_labels` finds, once per machine; raise its UserError. For data sets that are lists of files."""
    if dataset is not None and hasattr(dataset, "file_list") and paddle.distributed.ParallelEnv().local_rank == 0:
        scan = check_labels(dataset)
        logger.info(f"{dataset.mode} {scan}")
        for warning in scan.warnings:
            logger.warning(f"{dataset.mode} labels: {warning}")
        return scan
    return None
