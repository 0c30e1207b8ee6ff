"""`import hrfamily_deploy` costs nothing until something of it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hrfamily_deploy
from hrfamily_deploy.client import Client
from hrfamily_deploy.predictor import Predictor

HEAVY = {"numpy", "cv2", "PIL", "yaml", "tqdm", "requests", "paddle", "openvino", "onnxruntime"}


@pytest.mark.parametrize(
    "code",
    [
        "import hrfamily_deploy",
        "import hrfamily_deploy; dir(hrfamily_deploy); hrfamily_deploy.UserError",
        "from hrfamily_deploy import cpu, errors, files; cpu.read()",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    code += f"; import sys; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_it_offers() -> None:
    assert hrfamily_deploy.Predictor is Predictor and hrfamily_deploy.Client is Client
    assert {*hrfamily_deploy.__all__} <= {*dir(hrfamily_deploy)}
    with pytest.raises(AttributeError, match="no attribute 'Absent'"):
        hrfamily_deploy.Absent  # noqa: B018


def test_a_predictor_brings_no_runtime_but_the_one_that_it_uses() -> None:
    code = "import sys, hrfamily_deploy.predictor as _; print({*sys.modules} & {'paddle', 'openvino', 'onnxruntime'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
