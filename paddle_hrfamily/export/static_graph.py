"""From a network to a `.pdmodel` that both Paddle lines and other runtimes read, and that is compared with it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import paddle
from paddle import nn
from paddle.base import unique_name
from paddle.base.dygraph.base import switch_to_static_graph
from paddle.base.layers import math_op_patch
from paddle.jit.dy2static import program_translator

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import pooling, program_operators
from paddle_hrfamily.patching import Overlay, patched

# Heights and widths at which a graph of open shape is compared: a round pair and an odd one.
OPEN_SIZES = ((128, 256), (97, 161))
TOLERANCE = 1e-3  # of the largest logit: what float32 in another order of operations may differ by


class Deployed(nn.Layer):
    """A network whose output is labels (N, H, W), or probabilities or logits (N, K, H, W), of image (N, C, H, W)."""

    def __init__(self, model: nn.Layer, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        logits = self.model(image)[0]
        if self.output == "argmax":
            return paddle.argmax(logits, axis=1, dtype="int32")
        return nn.functional.softmax(logits, axis=1) if self.output == "softmax" else logits


def save(model: nn.Layer, shape: Sequence[int], output: str, prefix: Path) -> list[str]:
    """Write `prefix`.pdmodel and .pdiparams, run them, and hold the result against the network's own.

    Args:
        model: a segmentation network; its first output is exported.
        shape: (N, C, H, W), -1 where open.
        output: "argmax", "softmax" or "none" (logits).
        prefix: path without suffix.

    Returns:
        The sizes compared, as "HxW".

    Raises:
        UserError: the written graph computes something else.
    """
    model.eval()
    # The dynamic network is run first: to_static rewrites `forward` in place.
    expected = [(image, _logits(model, image)) for image in images(shape)]
    spec = paddle.static.InputSpec(list(shape), "float32", name="x")  # the name in PaddleSeg's TensorRT settings
    write(Deployed(model, output), [spec], prefix)
    run = load(prefix)
    for image, logits in expected:
        compare(run(image), logits, output)
    return ["x".join(map(str, image.shape[2:])) for image, _ in expected]


def write(layer: nn.Layer, input_spec: Sequence[paddle.static.InputSpec], prefix: Path) -> None:
    """Write what `layer` computes in evaluation as `prefix`.pdmodel and .pdiparams. Rewrites its `forward` in place."""
    with _program_form(), _conversion_without_repetition(), pooling.of_any_size():
        graph = paddle.jit.to_static(layer, input_spec=list(input_spec), full_graph=True)
        graph.eval()
        _multiply_plain_memory(graph.forward.concrete_program.main_program)
        paddle.jit.save(graph, str(prefix))


@contextmanager
def _conversion_without_repetition() -> Iterator[None]:
    """Paddle converts the source of `forward` anew for every layer of a class: its cache forgets bound methods at once.

    And for a warning about ancient versions, every sum and product looks through the files of the whole call stack.
    """
    convert = program_translator.FunctionCache.convert_with_cache

    def convert_once(cache: object, function: Callable) -> Callable:
        return convert(cache, getattr(function, "__func__", function))

    no_files = Overlay(inspect, stack=lambda: [("", "", 0)] * 2)
    with (
        patched(program_translator.FunctionCache, convert_with_cache=convert_once),
        # Converted code keeps the globals that it saw, which another export may have changed.
        patched(program_translator._FUNCTION_CACHE, _converted_static_func_caches=WeakKeyDictionary()),
        patched(math_op_patch, inspect=no_files),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "(?s).*has been unified with", DeprecationWarning)
        yield


@switch_to_static_graph
def _multiply_plain_memory(program: paddle.static.Program) -> None:
    """Copy maps before they are multiplied, and reshaped maps before they are transposed.

    oneDNN keeps the result of a convolution in blocks of channels, and Paddle Inference lets it multiply those as if
    they were rows and columns: wrong results on both lines. A copy is made by Paddle, in plain memory.
    """
    for block in program.blocks:
        reshaped = {name for op in block.ops if op.type == "reshape2" for name in op.output("Out")}
        for index, op in reversed(list(enumerate(block.ops))):
            if op.type == "transpose2":
                sources = set(op.input("X")) & reshaped
            elif op.type == "matmul_v2":
                sources = {name for name in op.input_arg_names if len(block.var(name).shape) == 4}
            else:
                continue
            for source in map(block.var, sorted(sources)):
                copy = block.create_var(name=f"{source.name}.copy{index}", dtype=source.dtype, shape=source.shape)
                op._rename_input(source.name, copy.name)
                block._insert_op(index, type="assign", inputs={"X": [source]}, outputs={"Out": [copy]})


@contextmanager
def _program_form() -> Iterator[None]:
    """Paddle 3 writes `.json`, unless it is switched back for a while to the program form that Paddle 2 has anyway."""
    guard = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", None)
    if guard is None:
        yield
        return
    names = unique_name.generator
    try:
        with (
            program_operators.appending(),
            guard(),
        ):  # which also enters static mode, where a dynamic network cannot be converted
            paddle.disable_static()
            try:
                yield
            finally:
                paddle.enable_static()
    finally:
        unique_name.switch(names)  # going back, it would count from 0 again: a layer made later gets another's names


def images(shape: Sequence[int]) -> list[np.ndarray]:
    """Noise (N, C, H, W) to compare with, at two sizes for open shapes."""
    batch, channels, height, width = shape
    sizes = OPEN_SIZES if -1 in (height, width) else ((height, width),)
    noise = np.random.default_rng(0)
    return [
        noise.standard_normal(
            (max(batch, 1), channels, height if height > 0 else h, width if width > 0 else w), dtype=np.float32
        )
        for h, w in sizes
    ]


def _logits(model: nn.Layer, image: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(image))[0].numpy()


def load(prefix: Path) -> Callable[..., np.ndarray]:
    """The written files as Paddle Inference runs them: inputs -> the first output."""
    from paddle import inference

    config = inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
    config.disable_glog_info()
    predictor = inference.create_predictor(config)

    def run(*inputs: np.ndarray) -> np.ndarray:
        for name, value in zip(predictor.get_input_names(), inputs):
            predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(value))
        predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()

    return run


def compare(result: np.ndarray, logits: np.ndarray, output: str) -> None:
    """Raises UserError unless `result` is what these logits come to; where two classes tie, either label will do."""
    tolerance = TOLERANCE * max(1e-3, float(np.abs(logits).max()))
    if output == "argmax":
        chosen = np.take_along_axis(logits, result[:, None].astype(np.int64), axis=1)[:, 0]
        worst = float((logits.max(axis=1) - chosen).max())
    elif output == "softmax":
        worst, tolerance = float(np.abs(result - _softmax(logits)).max()), TOLERANCE
    else:
        worst = float(np.abs(result - logits).max())
    if not worst <= tolerance:
        raise UserError(
            f"the exported graph differs from the network by {worst:.3g} (allowed {tolerance:.3g}) at "
            f"{logits.shape[2]}x{logits.shape[3]}; nothing was written. Paddle {paddle.__version__} may have a "
            f"broken operator for this network: try the other supported version"
        )


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
