"""From a network to a `.pdmodel` that both Paddle lines and other runtimes read, compared before it is believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.base import core
from paddle.base.layer_helper import LayerHelper

from paddle_hrfamily.errors import UserError

# Heights and widths at which a graph of open shape is compared: a round pair and an odd one.
OPEN_SIZES = ((128, 256), (97, 161))
TOLERANCE = 1e-3  # of the largest logit: what float32 in another order of operations may differ by


class Deployed(nn.Layer):
    """A network with the end that its users want: image (N, C, H, W) -> labels (N, H, W), or planes (N, K, H, W)."""

    def __init__(self, model: nn.Layer, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        logits = self.model(image)[0]
        if self.output == "argmax":
            return _argmax(logits)
        return nn.functional.softmax(logits, axis=1) if self.output == "softmax" else logits


@paddle.jit.not_to_static
def _argmax(logits: paddle.Tensor) -> paddle.Tensor:
    """Label map (N, H, W), int32. `paddle.argmax` of Paddle 3.3 cannot be put into a `.pdmodel`; its operator can."""
    helper = LayerHelper("arg_max")
    labels = helper.create_variable_for_type_inference("int32")
    attributes = {"axis": 1, "keepdims": False, "flatten": False, "dtype": core.VarDesc.VarType.INT32}
    helper.append_op(type="arg_max", inputs={"X": [logits]}, outputs={"Out": [labels]}, attrs=attributes)
    return labels


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
    # The dynamic network's answers come first: to_static rewrites `forward` in place.
    expected = [(image, _logits(model, image)) for image in _images(shape)]
    spec = paddle.static.InputSpec(list(shape), "float32", name="x")  # the name in PaddleSeg's TensorRT settings
    with _program_form():
        graph = paddle.jit.to_static(Deployed(model, output), input_spec=[spec], full_graph=True)
        graph.eval()
        paddle.jit.save(graph, str(prefix))
    for image, logits in expected:
        _compare(_run(prefix, image), logits, output)
    return ["x".join(map(str, image.shape[2:])) for image, _ in expected]


@contextmanager
def _program_form() -> Iterator[None]:
    """Paddle 3 writes `.json`, unless it is switched back for a while to the program form that Paddle 2 has anyway."""
    guard = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", None)
    if guard is None:
        yield
        return
    with guard():  # which also enters static mode, where a dynamic network cannot be converted
        paddle.disable_static()
        try:
            yield
        finally:
            paddle.enable_static()


def _images(shape: Sequence[int]) -> list[np.ndarray]:
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


def _run(prefix: Path, image: np.ndarray) -> np.ndarray:
    """What Paddle Inference makes of the written files."""
    from paddle import inference

    config = inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def _compare(result: np.ndarray, logits: np.ndarray, output: str) -> None:
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
