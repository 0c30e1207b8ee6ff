"""Shared fixtures. Paddle's environment is prepared before anything imports paddle."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddle_hrfamily.host import environment

environment.prepare()

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and independent answers that may lie beside a checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (real images, parity fixtures) beside the checkout")
    return folder
