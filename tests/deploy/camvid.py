"""What precision and runtime cost: mIoU of exported networks on CamVid's labelled frames, each beside the first one's.

    python tests/deploy/camvid.py EXPORTED ,backend=openvino ,backend=openvino,precision=bf16
    python tests/deploy/camvid.py EXPORTED FAST,backend=openvino,precision=bf16 --split test

A network is FOLDER[,backend=…][,precision=…][,…] as deploy/benchmark.py takes it; what is left out, even the folder, is
as for the first one and the flags. The data is a folder with val.txt, test.txt and so on, "image label" a line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy")]

if TYPE_CHECKING:
    from hrfamily_deploy.benchmarking.configuration import Configuration

CAMVID = ROOT.parent / "shared" / "data" / "camvid"


@dataclass(frozen=True)
class Score:
    """Of all frames.

    Attributes:
        confusion: (K, K) pixels: row the labelled class, column the predicted one.
        equal: share of pixels with the label that the first network gives, unlabelled ones as well.
    """

    confusion: np.ndarray
    equal: float

    @property
    def miou(self) -> float:
        """In per cent, over all classes; one that is nowhere counts as 0, as in PaddleSeg's evaluation."""
        hit = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hit
        return 100 * float((hit / np.maximum(union, 1)).mean())

    @property
    def accuracy(self) -> float:
        """Per cent of the labelled pixels."""
        return 100 * float(np.trace(self.confusion) / max(self.confusion.sum(), 1))


def parser() -> argparse.ArgumentParser:
    from hrfamily_deploy.runtime import options, planning
    from hrfamily_deploy.scripts import command_line

    summary, _, rest = __doc__.partition("\n\n")
    made = command_line.Parser(
        prog="camvid.py", description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("networks", nargs="+", metavar="NETWORK", help="what `hrfamily export` wrote, and how to run it (below)")
    add("--data", type=Path, default=CAMVID, help="(default: %(default)s)")
    add("--split", default="val", help="val, test or train (default: %(default)s)")
    add("--frames", type=int, help="evenly spaced ones of the split (default: all)")
    add("--backend", default="paddle", help=f"{', '.join(planning.backend_names())} (default: %(default)s)")
    add("--precision", default="fp32", help=f"{', '.join(options.PRECISIONS)} (default: %(default)s)")
    add("--threads", type=int, help="of the CPU (default: its physical cores)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    from hrfamily_deploy.benchmarking.configuration import Configuration, parse

    args = parser().parse_intermixed_args(arguments)
    usual = Configuration(Path(), args.backend, args.precision, "cpu", args.threads)
    first = parse(args.networks[0], usual)
    configurations = [first, *(parse(text, first) for text in args.networks[1:])]
    frames = pairs(args.data, args.split, args.frames)
    print(f"CamVid {args.split}, {len(frames)} frames\n")
    print("| network | runtime | precision | mIoU (%) | ΔmIoU (points) | pixel accuracy (%) | equal pixels |")
    print("|---|---|---|---|---|---|---|")
    for line in rows(configurations, frames):
        print(line, flush=True)
    return 0


def rows(configurations: Sequence[Configuration], frames: Sequence[tuple[Path, Path]]) -> Iterator[str]:
    """The table's, one for each network when it is done."""
    from hrfamily_deploy.predictor import Predictor
    from hrfamily_deploy.progress import progress

    reference: list[np.ndarray] = []
    first = None
    for configuration in configurations:
        predictor = Predictor(configuration.folder, **vars(configuration.options()))
        classes = len(predictor.bundle.class_names)
        answers = predictor.predict_each(image for image, _ in frames)
        labels = list(progress(answers, configuration.title, len(frames)))
        reference = reference or labels
        found = score(labels, [np.asarray(Image.open(truth)) for _, truth in frames], reference, classes)
        first = first or found
        cells = [configuration.title, predictor.plan().backend, configuration.precision]
        points = round(found.miou - first.miou, 2) + 0.0  # no -0.00
        cells += [f"{found.miou:.2f}", f"{points:+.2f}", f"{found.accuracy:.2f}", f"{found.equal:.4%}"]
        yield f"| {' | '.join(cells)} |"


def score(
    labels: Sequence[np.ndarray], truth: Sequence[np.ndarray], reference: Sequence[np.ndarray], classes: int
) -> Score:
    """Of label maps (H, W) beside another network's and the truth, in which numbers from `classes` up are no label."""
    confusion = np.zeros(classes * classes, np.int64)
    for label, true in zip(labels, truth):
        known = true < classes
        confusion += np.bincount(true[known].astype(np.int64) * classes + label[known], minlength=classes**2)
    equal = sum(np.count_nonzero(label == other) for label, other in zip(labels, reference))
    return Score(confusion.reshape(classes, classes), equal / sum(label.size for label in labels))


def pairs(data: Path, split: str, most: int | None = None) -> list[tuple[Path, Path]]:
    """(image, label) of a split, at most that many, evenly spaced.

    Raises:
        UserError: no such list, or none of that many.
    """
    from hrfamily_deploy.errors import UserError

    listed = data / f"{split}.txt"
    if not listed.is_file():
        raise UserError(f"{listed} does not exist; give --data and --split of a folder with lists of 'image label'")
    lines = [line.split() for line in listed.read_text().splitlines() if line.strip()]
    if any(len(line) != 2 for line in lines):
        raise UserError(f"{listed}: each line must be 'image label'")
    found = [(data / image, data / label) for image, label in lines]
    count = len(found) if most is None else min(most, len(found))
    if count < 1:
        raise UserError(f"{listed}: {count} frames; give --frames from 1 up, or a list that holds some")
    return [found[index * len(found) // count] for index in range(count)]


if __name__ == "__main__":
    from hrfamily_deploy.scripts import command_line

    sys.exit(command_line.run(main))
