"""OpenVINO on processors; it reads .pdmodel as it is."""

from __future__ import annotations

from typing import Any

import numpy as np


class OpenVinoBackend:
    """A compiled graph and a request of its own; clones share the graph."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def run(self, batch: np.ndarray) -> np.ndarray:
        """(N, C, h, w) float32 -> what the graph ends in."""
        return self._request.infer([batch])[0].copy()  # the next request writes where this result lies

    def clone(self) -> OpenVinoBackend:
        return OpenVinoBackend(self._compiled)


def load(plan: dict[str, Any]) -> OpenVinoBackend:
    """Load what the plan names."""
    import openvino

    core = openvino.Core()
    # Without the hint it takes bf16 where the processor has it, whatever the graph says.
    settings = {
        "INFERENCE_NUM_THREADS": plan["threads"],
        "INFERENCE_PRECISION_HINT": "bf16" if plan["precision"] == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return OpenVinoBackend(core.compile_model(core.read_model(plan["model"]), "CPU", settings))
