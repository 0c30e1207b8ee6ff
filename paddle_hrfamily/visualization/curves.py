"""What a training run logged for VisualDL, as numbers by iteration."""

from __future__ import annotations

from pathlib import Path

from paddle_hrfamily.errors import UserError

TRAINING_LOSS, VALIDATION_MIOU = "Train/loss", "Evaluate/mIoU"

Curve = dict[int, float]  # iteration -> value


def read_curve(folder: Path, tag: str) -> Curve:
    """The values of a VisualDL tag by iteration; where a run was resumed, what it logged last counts.

    Raises:
        UserError: the folder holds no log.
    """
    from visualdl import LogReader

    logs = sorted(folder.glob("vdlrecords.*.log"))
    if not logs:
        raise UserError(f"{folder} holds no VisualDL log; train with --use_vdl --save_dir {folder}")
    curve: Curve = {}
    for log in logs:
        reader = LogReader(file_path=str(log))
        if tag in reader.get_tags().get("scalar", []):
            curve.update({record.id: record.value for record in reader.get_data("scalar", tag)})
    return dict(sorted(curve.items()))
