"""An exported network with 8-bit integers inside, for OpenVINO on CPUs, written only if its labels stay the same."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from hrfamily_deploy.bundle import DESCRIPTIONS, Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.runtime.backends import openvino_runtime

if TYPE_CHECKING:
    from openvino import Model

FRAMES = 30
LEAST_EQUAL = 0.95
_GRAPH, _WEIGHTS = "model.xml", "model.bin"
_STEM_CONVOLUTIONS = 2  # stay as they are: all else builds on what they round


def quantize(
    folder: Path, source: Path, target: Path, frames: int = FRAMES, least: float = LEAST_EQUAL
) -> tuple[float, int]:
    """Write `target`, another exported folder.

    Returns:
        The share of pixels with the label that the network itself gives, and how many images that is of.

    Raises:
        UserError: no such network or images, something is not installed, too few labels are equal, or `target` is
            there already.
    """
    _check(target, frames, least)
    network = Predictor(folder, "cpu", backend="openvino")
    if network.bundle.program.name == _GRAPH:
        raise UserError(f"{folder} is quantised already; give the network itself")
    items = [network.prepare(each.path) for each in image_files.evenly(image_files.find(source), frames)]
    labels = list(network.predict_prepared(items))  # of a network without classes it says so before the work
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".int8", dir=target.parent) as name:
            draft = Path(name) / target.name
            _write(draft, network.bundle, _quantized(network, items))
            equal = _equal(labels, Predictor(draft, "cpu", backend="openvino").predict_prepared(items))
            if equal < least:
                raise UserError(f"{folder}: in 8 bits {equal:.2%} of pixels keep their label, and --least is {least}")
            draft.rename(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from None
    return equal, len(items)


def _check(target: Path, frames: int, least: float) -> None:
    if importlib.util.find_spec("nncf") is None:
        raise UserError("NNCF is not installed: pip install 'paddle_hrfamily[int8]', or pip install nncf openvino")
    if target.exists():
        raise UserError(f"--save-dir {target} is there already; give a new folder")
    if frames < 1 or not 0 <= least <= 1:
        raise UserError(f"--frames {frames} --least {least}: give a number from 1 up, and a share from 0 to 1")


def _quantized(network: Predictor, items: Sequence[Prepared]) -> Model:
    import nncf

    nncf.set_log_level(logging.ERROR)
    batch = max(1, network.bundle.input_shape[0])
    graph = openvino_runtime.core().read_model(str(network.plan().model))
    return nncf.quantize(
        graph,
        nncf.Dataset(items, lambda item: np.stack([item.planes] * batch)),
        preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric: without zero points to subtract
        subset_size=len(items),
        ignored_scope=nncf.IgnoredScope(names=_stem(graph)),
    )


def _stem(graph: Model) -> list[str]:
    names = [node.get_friendly_name() for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return names[:_STEM_CONVOLUTIONS]


def _write(folder: Path, network: Bundle, graph: Model) -> None:
    import openvino

    folder.mkdir()
    openvino.save_model(graph, folder / _GRAPH, compress_to_fp16=False)
    content = yaml.safe_load(network.description.read_text(encoding="utf-8"))
    content["Deploy"] |= {"model": _GRAPH, "params": _WEIGHTS}
    folder.joinpath(DESCRIPTIONS[0]).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _equal(labels: Sequence[np.ndarray], others: Iterable[np.ndarray]) -> float:
    same = sum(np.count_nonzero(label == other) for label, other in zip(labels, others))
    return same / sum(label.size for label in labels)
