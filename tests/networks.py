"""Numbers and answers that the networks are held to."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

# (million parameters, GFLOPs at 1024x2048) with 19 classes, counted on the unmodified official code; GFLOPs are
# convolution multiply-accumulates / 2^30, as the papers count. Blank where the official code was not counted.
PUBLISHED = {
    "hrnet_w18_small_v1": ("1.5408", "31.098"),
    "hrnet_w18_small_v2": ("3.9396", "71.579"),
    "hrnet_w18": ("9.6411", "137.278"),
    "hrnet_w32": ("29.5465", "336.418"),
    "hrnet_w40": ("45.8944", "498.674"),
    "hrnet_w48": ("65.8594", "696.176"),
    "uhrnet_w18_small": ("13.2408", "73.058"),
    "uhrnet_w18": ("25.9730", "137.637"),
    "uhrnet_w48": ("181.9414", "698.640"),
    "hrnet_w18_small_v2_ocr": ("6.3793", "328.647"),
    "hrnet_w18_ocr": ("12.0808", "394.346"),
    "hrnet_w48_ocr": ("70.3727", "1206.369"),
}


def fixtures(shared: Path) -> ModuleType:
    """The module that rebuilds the checkpoint and the input of a parity fixture."""
    spec = importlib.util.spec_from_file_location("fixture", shared / "parity" / "fixture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
