"""An exported network as ONNX, which is held against Paddle Inference before it takes its place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrfamily_deploy import bundle
from hrfamily_deploy.convert import paddle_to_onnx, parity
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.predictor import Predictor

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

OPSET = 17


@dataclass(frozen=True)
class Converted:
    """A file that was written.

    Attributes:
        signature: input and output, as "x float32 (batch, 3, height, width)".
        nodes, constants: of the graph; constants are not among the nodes.
        opset: of the graph; a later one than asked for where an operator needs it.
        compared: all that was run.
    """

    file: Path
    signature: tuple[str, str]
    nodes: int
    constants: int
    opset: int
    compared: tuple[parity.Compared, ...]


def convert(folder: str | Path, opset: int = OPSET, images: Sequence[image_files.ImageLike] = ()) -> Converted:
    """Write the ONNX file beside the graph of an exported folder, once both runtimes agree, on `images` as well.

    Raises:
        UserError: no such network or image, something is not installed, it cannot be converted, or they disagree.
    """
    paddle_to_onnx.check_installed()
    network = bundle.read(folder)
    # What is wrong with one shows at once.
    decoded = [image_files.decode(image, network.channels, network.image_dtype) for image in images]
    target = network.program.with_suffix(".onnx")
    try:
        with tempfile.TemporaryDirectory(prefix=".onnx", dir=network.folder) as name:
            draft = Path(name)
            for file in (network.description, network.program, network.params):
                shutil.copy(file, draft)
            file = draft / target.name
            paddle_to_onnx.convert(draft / network.program.name, draft / network.params.name, opset, file)
            model = _finish(file, network.output)
            compared = _compare(network, draft, decoded)
            file.replace(target)
    except OSError as error:
        raise UserError(f"{network.folder}: cannot be written ({error.strerror})") from None
    nodes, constants = count(model.graph)
    return Converted(target, signature(model.graph), nodes, constants, model.opset_import[0].version, compared)


def signature(graph: GraphProto) -> tuple[str, str]:
    """Input and output with type and shape, as "x float32 (batch, 3, height, width)"."""
    return _described(graph.input[0]), _described(graph.output[0])


def count(graph: GraphProto) -> tuple[int, int]:
    """How many nodes compute something, and how many are constants."""
    constants = sum(node.op_type == "Constant" for node in graph.node)
    return len(graph.node) - constants, constants


def _compare(network: bundle.Bundle, draft: Path, images: Sequence[np.ndarray]) -> tuple[parity.Compared, ...]:
    batch = parity.OPEN_BATCH if network.input_shape[0] == -1 else 1
    reference, converted = (
        Predictor(folder, "cpu", backend=backend, batch=batch)
        for folder, backend in ((network.folder, "paddle"), (draft, "onnxruntime"))
    )
    return tuple(parity.compare(reference, converted, images))


def _finish(file: Path, output: str) -> ModelProto:
    """Remove unused constants, of which ONNX Runtime would warn, name the output and the open axes, and have ONNX check
    the whole."""
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    model = onnx.load(file)
    _remove_unused(model.graph)
    _rename_output(model.graph, output)
    model = update_inputs_outputs_dims(
        model,
        {model.graph.input[0].name: _axes(model.graph.input[0], "height", "width")},
        {output: _axes(model.graph.output[0], "out_height", "out_width")},
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    return model


def _remove_unused(graph: GraphProto) -> None:
    used = set(_read(graph))
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _read(graph: GraphProto) -> Iterator[str]:
    """The names of all values that are used, by the graph or by one within it."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            yield from _read(attribute.g)


def _rename_output(graph: GraphProto, new: str) -> None:
    old = graph.output[0].name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    graph.output[0].name = new


def _axes(value: ValueInfoProto, height: str, width: str) -> list[int | str]:
    """Extents as they are, and names for the open ones: the first axis counts images, the others are height and width
    in this order, wherever the channels stand."""
    first, *others = (axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim)
    names = iter((height, width))
    return [first or "batch", *(extent or next(names, "open") for extent in others)]


def _described(value: ValueInfoProto) -> str:
    from onnx.helper import tensor_dtype_to_np_dtype

    tensor = value.type.tensor_type
    axes = ", ".join(str(axis.dim_param or axis.dim_value) for axis in tensor.shape.dim)
    return f"{value.name} {tensor_dtype_to_np_dtype(tensor.elem_type)} ({axes})"
