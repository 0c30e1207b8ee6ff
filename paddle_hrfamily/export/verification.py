"""Is what hrfamily_deploy computes what the network does? A row for each of its runtimes and precisions, over images.

What is compared is whole: an image's file through the config's transforms and the dynamic network on the one side,
through an exported folder and a runtime on the other, and the two label maps at the image's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import paddle
import yaml

from hrfamily_deploy.bundle import read as read_bundle
from hrfamily_deploy.convert import onnx_export
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.progress import progress
from hrfamily_deploy.runtime import hardware, planning
from hrfamily_deploy.runtime.backends import BACKENDS
from hrfamily_deploy.runtime.options import Options
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import static_graph

LEAST_EQUAL = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.98}  # of all pixels
MOST_DIFFERENT = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2}  # of the greatest value, where there are no classes


@dataclass
class Row:
    """One runtime at one precision.

    Attributes:
        format: of the graph: pdmodel, json or onnx.
        version, device: of the runtime.
        verdict: "agrees", "differs", "fails" (it does not run) or "skipped" (it cannot be had here).
        reason: of the last two.
        equal: share of pixels with the network's label; None without classes.
        worst: that share in the worst image.
        difference: of logits, the greatest; None where no graph gives them.
        greatest: logit of the network, without sign.
        notes: of hrfamily_deploy's plan.
    """

    format: str
    backend: str
    precision: str
    version: str = ""
    device: str = ""
    verdict: str = "skipped"
    reason: str = ""
    equal: float | None = None
    worst: float | None = None
    difference: float | None = None
    greatest: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        return self.verdict in ("differs", "fails")


@dataclass(frozen=True)
class References:
    """What the dynamic network makes of images, in files: logits of many large images are too much for memory."""

    images: Sequence[Path]
    folder: Path

    @classmethod
    def compute(cls, images: Sequence[Path], network: Callable[[Path], np.ndarray], folder: Path) -> References:
        """`network` gives an image's logits (K, H, W) at its size."""
        for index, image in enumerate(progress(images, "network", leave=False)):
            np.save(folder / f"{index}.npy", network(image))
        return cls(images, folder)

    def __iter__(self) -> Iterator[tuple[Path, np.ndarray]]:
        for index, image in enumerate(self.images):
            yield image, np.load(self.folder / f"{index}.npy", mmap_mode="r")


def rows(
    bundle: Path,
    in_logits: Path | None,
    references: References,
    precisions: Sequence[str],
    device: str = "auto",
) -> Iterator[Row]:
    """A row for each backend of hrfamily_deploy at each precision.

    Args:
        bundle: the exported folder.
        in_logits: the same network as a graph that ends in logits, `bundle` itself if it does; None for no logits.

    Raises:
        UserError: no such folder, or an image that the graph does not take.
    """
    for precision in precisions:
        for backend in BACKENDS:
            yield _row(bundle, in_logits, references, Options(device, precision, backend=backend))


def twin_in_logits(bundle: Path, model: paddle.nn.Layer, folder: Path) -> Path | None:
    """The same network exported into `folder` to end in logits, as ONNX as well where `bundle` has that.

    None of a `.json` program and of a fast export: what is written here would be another graph. Rewrites `model`.
    """
    network = read_bundle(bundle)
    if network.program.suffix != ".pdmodel" or network.takes_images:
        return None
    static_graph.save(model, network.input_shape, "none", folder / network.program.stem)
    description = yaml.safe_load(network.description.read_text(encoding="utf-8"))
    description["Deploy"]["output_op"] = "none"
    (folder / network.description.name).write_text(yaml.safe_dump(description), encoding="utf-8")
    if network.onnx:
        onnx_export.convert(folder)
    return folder


def _row(bundle: Path, in_logits: Path | None, references: References, options: Options) -> Row:
    network = read_bundle(bundle)
    is_onnx = options.backend == "onnxruntime"
    row = Row("onnx" if is_onnx else network.program.suffix[1:], options.backend, options.precision)
    try:
        plan = planning.make(network, options, hardware.probe())
    except UserError as error:
        row.reason = str(error)
        return row
    row.version, row.device, row.notes = plan.version, plan.device, list(plan.notes)
    try:
        predictor = _predictor(bundle, options)
        twin = predictor if in_logits == bundle else _predictor(in_logits, options) if in_logits else None
    except UserError as error:
        row.verdict, row.reason = "fails", str(error)
        return row
    tally = _Tally()
    for image, logits in references:
        item = predictor.prepare(image)
        try:
            _compare(tally, logits, item, predictor, twin)
        except Exception as error:  # each runtime has errors of its own
            row.verdict, row.reason = "fails", f"{image}: {' '.join(str(error).split())[:300]}"
            return row
    tally.fill(row)
    return row


def _predictor(folder: Path, options: Options) -> Predictor:
    return Predictor(folder, options.device, options.precision, backend=options.backend)


@dataclass
class _Tally:
    """Figures of a row, image by image."""

    equal: list[int] = field(default_factory=list)  # pixels
    pixels: list[int] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    greatest: float = 0.0

    def fill(self, row: Row) -> None:
        """Set the row's figures and verdict: by labels, or by logits of a network without classes."""
        if self.differences:
            row.difference, row.greatest = max(self.differences), self.greatest
        if self.equal:
            row.equal = sum(self.equal) / sum(self.pixels)
            row.worst = min(equal / pixels for equal, pixels in zip(self.equal, self.pixels))
            near = row.equal >= LEAST_EQUAL[row.precision]
        elif row.difference is not None:
            near = row.difference <= MOST_DIFFERENT[row.precision] * max(self.greatest, 1e-3)
        else:
            row.reason = "it has neither classes nor logits to compare"
            return
        row.verdict = "agrees" if near else "differs"


def _compare(tally: _Tally, logits: np.ndarray, item: Prepared, predictor: Predictor, twin: Predictor | None) -> None:
    """Run one prepared image."""
    result = predictor.run([item])[0]
    if len(logits) > 1:
        equal = predictor.answer(result, item) == logits.argmax(axis=0)
        tally.equal.append(int(equal.sum()))
        tally.pixels.append(equal.size)
    if twin:
        planes = twin.answer(result if twin is predictor else twin.run([item])[0], item, "logits")
        tally.differences.append(float(np.abs(planes - logits).max()))
        tally.greatest = max(tally.greatest, float(np.abs(logits).max()))
