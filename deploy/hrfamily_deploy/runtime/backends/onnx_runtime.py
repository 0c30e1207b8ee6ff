"""ONNX Runtime on CPUs, for a folder that has the graph as .onnx as well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.runtime.backends.base import Backend, register
from hrfamily_deploy.runtime.plan import Plan

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ONLY_ERRORS = 3  # of the levels of what is logged


class OnnxRuntime(Backend):
    name = "onnxruntime"
    distributions = ("onnxruntime-gpu", "onnxruntime")
    cpu_precisions = ("fp32",)
    speed_rank = 20

    def reads(self, bundle: Bundle) -> Path | None:
        return None if bundle.program.suffix == ".xml" else bundle.onnx

    def why_unreadable(self, bundle: Bundle) -> str:
        if bundle.program.suffix == ".xml":  # what it was quantised from is another network
            return f"{bundle.program.name} is for openvino alone"
        return f"{bundle.folder} has no {bundle.program.with_suffix('.onnx').name}"

    def load(self, plan: Plan) -> OnnxRuntimeRunner:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = plan.threads
        options.log_severity_level = _ONLY_ERRORS
        return OnnxRuntimeRunner(
            onnxruntime.InferenceSession(str(plan.model), options, providers=["CPUExecutionProvider"])
        )


class OnnxRuntimeRunner:
    """A session; its `run` may be called from several threads, so that clones share it."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: batch})[0]

    def clone(self) -> OnnxRuntimeRunner:
        return OnnxRuntimeRunner(self._session)


register(OnnxRuntime())
