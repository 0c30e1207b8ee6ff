"""Shared fixtures. Paddle's environment is prepared before anything imports paddle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddle_hrfamily import system

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by as many workers
    os.environ.setdefault("OMP_NUM_THREADS", "1")
system.prepare()

import paddle  # noqa: E402

from tests.parity import Parity  # noqa: E402

paddle.disable_signal_handler()  # it writes where pytest captures: a worker would die without a word

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images that may lie beside a checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (real images) beside the checkout")
    return folder


@pytest.fixture(scope="session")
def parity() -> Parity:
    """What independent implementations compute, and with which weights."""
    return Parity()
