"""OpenVINO on CPUs; it reads .pdmodel as it is."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.runtime.backends.base import Backend, register
from hrfamily_deploy.runtime.plan import Plan

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, Model, Tensor

_PROGRAMS = (".pdmodel", ".xml")  # that it reads itself; `hrfamily quantize` writes the latter
_ONE_AT_A_TIME = threading.Lock()


class OpenVino(Backend):
    name = "openvino"
    distributions = ("openvino",)
    cpu_precisions = ("fp32", "bf16")
    speed_rank = 10

    def reads(self, bundle: Bundle) -> Path | None:
        return bundle.program if bundle.program.suffix in _PROGRAMS else bundle.onnx

    def why_unreadable(self, bundle: Bundle) -> str:
        return f"it reads .pdmodel and .onnx, not {bundle.program.name}"

    def load(self, plan: Plan) -> OpenVinoRunner:
        # Without the hint it takes bf16 where the CPU has it, whatever the graph says.
        settings = {
            "INFERENCE_NUM_THREADS": plan.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if plan.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        model, constants = prepared_model(plan.model, plan.precision)
        return OpenVinoRunner(core().compile_model(model, "CPU", settings), constants)


class OpenVinoRunner:
    """A compiled graph and a request of its own; clones share the graph. `constants` are further inputs of it."""

    def __init__(self, compiled: CompiledModel, constants: Mapping[str, Tensor]) -> None:
        self._compiled = compiled
        self._constants = constants
        self._request = compiled.create_infer_request()
        for name, tensor in constants.items():
            self._request.set_tensor(name, tensor)

    def run(self, batch: np.ndarray) -> np.ndarray:
        result = self._request.infer({0: batch}, share_inputs=True)[0]
        return result.copy()  # the next request writes there

    def clone(self) -> OpenVinoRunner:
        return OpenVinoRunner(self._compiled, self._constants)


def core() -> Core:
    """The process's one core, kept to its end.

    Each core gives the thread that first compiles with it a stack for handling signals on, and frees that when it goes.
    Where a second core came in between, or another thread lets go of the first, the kernel is left with a freed stack:
    the next signal that Python or Paddle handles, such as Ctrl-C, kills the process without a word (OpenVINO 2026.4).
    """
    with _ONE_AT_A_TIME:
        return _core()


@functools.cache
def _core() -> Core:
    import openvino

    return openvino.Core()


def prepared_model(file: Path, precision: str) -> tuple[Model, dict[str, Tensor]]:
    """The graph, and what its inputs beyond the image are to hold."""
    model = core().read_model(str(file))
    return model, _constants_as_inputs(model) if precision == "bf16" else {}


def _constants_as_inputs(model: Model) -> dict[str, Tensor]:
    """Make inputs of constants that a map is multiplied by from the left, and say what to put there.

    OpenVINO multiplies by such a constant in float32 alone, converting the map to it and back.
    """
    from openvino import Tensor, opset13

    found: dict[str, Tensor] = {}
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


register(OpenVino())
