"""The runtimes, one file each. To add one, write its file and import it here."""
# ruff: isort: skip_file

from __future__ import annotations

from hrfamily_deploy.runtime.backends.base import BACKENDS, Accelerators, Backend, Gpu, Hardware, Runner, load, register

# In the order of `--backend`'s help.
from hrfamily_deploy.runtime.backends import paddle_inference  # noqa: F401
from hrfamily_deploy.runtime.backends import onnx_runtime  # noqa: F401
from hrfamily_deploy.runtime.backends import openvino_runtime  # noqa: F401

__all__ = ["BACKENDS", "Accelerators", "Backend", "Gpu", "Hardware", "Runner", "load", "register"]
