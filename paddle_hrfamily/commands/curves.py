"""Draw loss and validation mIoU of training runs in one plot.

    hrfamily curves output/uhrnet_w18_small_camvid output/hrnet_w18_small_v2_camvid --save curves.png

Reads the VisualDL logs that `hrfamily train --use_vdl` leaves in its folder; a resumed run's logs are put together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.visualization.curves import TRAINING_LOSS, VALIDATION_MIOU, Curve, read_curve

PANELS = {TRAINING_LOSS: "training loss", VALIDATION_MIOU: "validation mIoU"}
SMOOTHED = TRAINING_LOSS
WINDOW = 5  # log lines that the loss is averaged over; the single values stay visible, pale


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder that a training wrote (its --save_dir)"
    )
    parser.add_argument("--save", type=Path, default=Path("curves.png"), help="image to write (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Read every run before the first line is drawn."""
    curves = {folder: {tag: read_curve(folder, tag) for tag in PANELS} for folder in args.runs}
    try:
        draw(curves, args.save)
    except (OSError, ValueError) as error:
        raise UserError(f"--save {args.save}: {error}") from error
    for folder, by_tag in curves.items():
        for tag, what in PANELS.items():
            if by_tag[tag]:
                last = max(by_tag[tag])
                print(f"{folder.name}: {what} {by_tag[tag][last]:.4f} at iteration {last}")
    print(f"drawn into {args.save}")


def draw(curves: dict[Path, dict[str, Curve]], file: Path) -> None:
    """One panel a tag, one colour a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(11, 4), layout="constrained")
    for axis, (tag, what) in zip(axes, PANELS.items()):
        for index, (folder, by_tag) in enumerate(curves.items()):
            color = f"C{index}"
            steps, values = list(by_tag[tag]), list(by_tag[tag].values())
            if tag == SMOOTHED:
                axis.plot(steps, values, color=color, alpha=0.25)
                values = _running_mean(values)
            axis.plot(steps, values, color=color, label=folder.name, marker="" if tag == SMOOTHED else "o")
        axis.set(title=what, xlabel="iteration", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _running_mean(values: list[float]) -> list[float]:
    windows = (values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]
