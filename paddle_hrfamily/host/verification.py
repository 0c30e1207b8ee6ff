"""Is what deploy/ computes what the network does? A row for each of its runtimes and precisions, over pictures.

What is compared is whole: a picture's file through the config's transforms and the dynamic network on the one side,
through an exported folder and a runtime on the other, and the two label maps at the picture's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from tqdm import tqdm

from paddle_hrfamily.host.deployment import Deploy
from paddle_hrfamily.host.exporting import static_graph

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
        worst: that share in the worst picture.
        difference: of logits, the greatest; None where no graph gives them.
        greatest: logit of the network, without sign.
        notes: of deploy/'s plan.
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
    """What the dynamic network makes of pictures, in files: logits of many large pictures are too much for memory."""

    pictures: Sequence[Path]
    folder: Path

    @classmethod
    def compute(cls, pictures: Sequence[Path], network: Callable[[Path], np.ndarray], folder: Path) -> References:
        """`network` gives a picture's logits (K, H, W) at its size."""
        for index, picture in enumerate(tqdm(pictures, "network", unit="picture", leave=False)):
            np.save(folder / f"{index}.npy", network(picture))
        return cls(pictures, folder)

    def __iter__(self) -> Iterator[tuple[Path, np.ndarray]]:
        for index, picture in enumerate(self.pictures):
            yield picture, np.load(self.folder / f"{index}.npy", mmap_mode="r")


def rows(
    deploy: Deploy,
    exported: Path,
    in_logits: Path | None,
    references: References,
    precisions: Sequence[str],
    device: str = "auto",
) -> Iterator[Row]:
    """A row for each of deploy/'s backends at each precision.

    Args:
        exported: the folder.
        in_logits: the same network as a graph that ends in logits, `exported` itself if it does; None for no logits.

    Raises:
        UserError: no such folder, or a picture that the graph does not take.
    """
    for precision in precisions:
        for backend in deploy.plan.BACKENDS:
            if backend != "auto":
                options = {"backend": backend, "precision": precision, "device": device}
                yield _row(deploy, exported, in_logits, references, options)


def twin_in_logits(deploy: Deploy, exported: Path, model: paddle.nn.Layer, folder: Path) -> Path | None:
    """The same network exported into `folder` to end in logits, as ONNX as well where `exported` has that.

    None of a `.json` program and of a fast export: what is written here would be another graph. Rewrites `model`.
    """
    network = deploy.exported.read(exported)
    if network.program.suffix != ".pdmodel" or network.takes_pictures:
        return None
    static_graph.save(model, network.input_shape, "none", folder / network.program.stem)
    description = yaml.safe_load(network.description.read_text(encoding="utf-8"))
    description["Deploy"]["output_op"] = "none"
    (folder / network.description.name).write_text(yaml.safe_dump(description), encoding="utf-8")
    if network.onnx:
        deploy.to_onnx.convert(folder)
    return folder


def _row(
    deploy: Deploy, exported: Path, in_logits: Path | None, references: References, options: Mapping[str, str]
) -> Row:
    network = deploy.exported.read(exported)
    is_onnx = options["backend"] == "onnxruntime"
    row = Row("onnx" if is_onnx else network.program.suffix[1:], options["backend"], options["precision"])
    try:
        plan = deploy.plan.make(network, deploy.plan.Options(**options), deploy.machine.probe())
    except deploy.errors.UserError as error:
        row.reason = str(error)
        return row
    row.version, row.device, row.notes = plan["version"], plan["device"], plan["notes"]
    try:
        predictor = deploy.predictor.Predictor(exported, **options)
        twin = predictor if in_logits == exported else in_logits and deploy.predictor.Predictor(in_logits, **options)
    except deploy.errors.UserError as error:
        row.verdict, row.reason = "fails", str(error)
        return row
    tally = _Tally()
    for picture, logits in references:
        item = predictor.prepare(picture)
        try:
            _compare(tally, logits, item, predictor, twin)
        except Exception as error:  # each runtime has errors of its own
            row.verdict, row.reason = "fails", f"{picture}: {' '.join(str(error).split())[:300]}"
            return row
    tally.fill(row)
    return row


@dataclass
class _Tally:
    """Figures of a row, picture by picture."""

    equal: list[int] = field(default_factory=list)  # pixels
    pixels: list[int] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    greatest: float = 0.0

    def fill(self, row: Row) -> None:
        if self.equal:
            row.equal = sum(self.equal) / sum(self.pixels)
            row.worst = min(equal / pixels for equal, pixels in zip(self.equal, self.pixels))
        if self.differences:
            row.difference, row.greatest = max(self.differences), self.greatest
        if row.equal is None:
            near = row.difference <= MOST_DIFFERENT[row.precision] * max(row.greatest, 1e-3)
        else:
            near = row.equal >= LEAST_EQUAL[row.precision]
        row.verdict = "agrees" if near else "differs"


def _compare(tally: _Tally, logits: np.ndarray, item: Any, predictor: Any, twin: Any) -> None:
    """Run one prepared picture; `predictor` and `twin` are deploy/'s."""
    result = predictor.run([item])[0]
    if len(logits) > 1:
        equal = predictor.answer(result, item) == logits.argmax(axis=0)
        tally.equal.append(int(equal.sum()))
        tally.pixels.append(equal.size)
    if twin:
        planes = twin.answer(result if twin is predictor else twin.run([item])[0], item, "logits")
        tally.differences.append(float(np.abs(planes - logits).max()))
        tally.greatest = max(tally.greatest, float(np.abs(logits).max()))
