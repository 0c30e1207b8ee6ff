"""OpenVINO on processors; it reads .pdmodel as it is."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

_ONE_AT_A_TIME = threading.Lock()


class OpenVinoBackend:
    """A compiled graph and a request of its own; clones share the graph. `constants` are further inputs of it."""

    def __init__(self, compiled: Any, constants: dict[str, Any]) -> None:
        self._compiled = compiled
        self._constants = constants
        self._request = compiled.create_infer_request()
        for name, tensor in constants.items():
            self._request.set_tensor(name, tensor)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """A batch as the graph takes it -> what the graph ends in."""
        result = self._request.infer({0: batch}, share_inputs=True)[0]
        return result.copy()  # the next request writes there

    def clone(self) -> OpenVinoBackend:
        return OpenVinoBackend(self._compiled, self._constants)


def core() -> Any:
    """The process's one core, kept to its end.

    Each core gives the thread that first compiles with it a stack for handling signals on, and frees that when it goes.
    Where a second core came in between, or another thread lets go of the first, the kernel is left with a freed stack:
    the next signal that Python or Paddle handles, such as Ctrl-C, kills the process without a word (OpenVINO 2026.4).
    """
    with _ONE_AT_A_TIME:
        return _core()


@functools.cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def load(plan: dict[str, Any]) -> OpenVinoBackend:
    """Load what the plan names."""
    # Without the hint it takes bf16 where the processor has it, whatever the graph says.
    settings = {
        "INFERENCE_NUM_THREADS": plan["threads"],
        "INFERENCE_PRECISION_HINT": "bf16" if plan["precision"] == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    model, constants = prepared_model(plan["model"], plan["precision"])
    return OpenVinoBackend(core().compile_model(model, "CPU", settings), constants)


def prepared_model(file: str, precision: str) -> tuple[Any, dict[str, Any]]:
    """The graph, and what its inputs beyond the image are to hold."""
    model = core().read_model(file)
    return model, _constants_as_inputs(model) if precision == "bf16" else {}


def _constants_as_inputs(model: Any) -> dict[str, Any]:
    """Make inputs of constants that a map is multiplied by from the left, and say what to put there.

    OpenVINO multiplies by such a constant in float32 alone, converting the map to it and back.
    """
    from openvino import Tensor, opset13

    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.input_value(0).get_node().get_type_name() != "Constant":
            continue
        constant = node.input_value(0).get_node()
        parameter = opset13.parameter(constant.get_output_shape(0), constant.get_element_type())
        name = f"constant_{len(found)}"
        parameter.output(0).get_tensor().set_names({name})
        node.input(0).replace_source_output(parameter.output(0))
        model.add_parameters([parameter])
        found[name] = Tensor(constant.data.copy())
    return found
