"""ONNX Runtime, for a folder that has the graph as .onnx as well."""

from __future__ import annotations

from typing import Any

import numpy as np


class OnnxRuntimeBackend:
    """A session; its `run` may be called from several threads, so that clones share it."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        """A batch as the graph takes it -> what the graph ends in."""
        return self._session.run(None, {self._input: batch})[0]

    def clone(self) -> OnnxRuntimeBackend:
        return OnnxRuntimeBackend(self._session)


def load(plan: dict[str, Any]) -> OnnxRuntimeBackend:
    """Load what the plan names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan["threads"]
    options.log_severity_level = 3  # errors
    if plan["device"] == "cpu":
        providers = ["CPUExecutionProvider"]
    else:
        providers = [("CUDAExecutionProvider", {"device_id": int(plan["device"].partition(":")[2])})]
    return OnnxRuntimeBackend(onnxruntime.InferenceSession(plan["model"], options, providers=providers))
