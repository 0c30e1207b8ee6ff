"""Imports point one way, and importing the package costs next to nothing."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import ROOT, run

PACKAGE = ROOT / "paddle_hrfamily"
FILES = sorted(file for file in PACKAGE.rglob("*.py"))

# Each part may import those of a lower rank, and itself; of one rank, parts know nothing of each other.
RANKS = {
    "errors": 0,
    "complexity": 1,
    "layers": 1,
    "losses": 1,
    "weights": 1,
    "blocks": 2,
    "multires": 3,
    "backbones": 4,
    "heads": 4,
    "models": 5,
    "zoo": 6,
    "host": 7,
    "commands": 8,
    "__init__": 9,  # hands out what the parts below define
    "__main__": 9,
}
# What each part may import from outside, beside the standard library. The others: anything that is required.
OUTSIDE = {
    "errors": set(),
    **{network: {"paddle"} for network in ("layers", "blocks", "multires", "backbones", "heads", "models", "zoo")},
    "complexity": {"paddle"},
    "losses": {"paddle", "numpy"},
    "weights": {"paddle", "numpy", "safetensors", "huggingface_hub", "requests", "tqdm", "filelock"},
}
# Two ways up that are meant: the thin modules inside PaddleSeg are command lines, and quickstart runs other commands.
UPWARD = {("host/paddleseg_modules", "__main__"), ("commands", "__main__")}
STDLIB = sys.stdlib_module_names  # Python 3.10


def part(name: str) -> str:
    """The part of the package that a dotted name, or a path within the package, belongs to."""
    pieces = name.replace("/", ".").removeprefix("paddle_hrfamily").strip(".").split(".")
    return pieces[0] if pieces[0] in RANKS else "__init__"


def imports(file: Path) -> Iterator[str]:
    """Every module that the file's statements import, lazily or not."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: line {node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    place = file.relative_to(PACKAGE).with_suffix("").as_posix()
    here = part(place)
    for name in imports(file):
        top = name.split(".")[0]
        there = part(name)
        if top != "paddle_hrfamily":
            allowed = OUTSIDE.get(here)
            assert top in STDLIB or allowed is None or top in allowed, f"{here} may not import {name}"
        elif (
            there != here and (place.rpartition("/")[0], there) not in UPWARD and name != "paddle_hrfamily.__version__"
        ):
            assert RANKS[there] < RANKS[here], f"{here} may not import {name}"


def test_every_module_has_a_rank() -> None:
    found = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}
    assert found == set(RANKS)


def test_whatever_is_imported_is_required() -> None:
    """Of requirements.txt or of an extra; nothing comes in by way of somebody else's requirements."""
    called = {"cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml", "paddle": "paddlepaddle"}
    declared = (ROOT / "requirements.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    for name in sorted({name.split(".")[0] for file in FILES for name in imports(file)} - STDLIB - {"paddle_hrfamily"}):
        assert re.search(rf'(?m)(^|"){called.get(name, name)}\b', declared), f"{name} is imported and not required"


HEAVY = ("paddle", "paddleseg", "numpy", "cv2", "scipy", "matplotlib", "visualdl", "safetensors", "huggingface_hub")


@pytest.mark.parametrize(
    "code",
    [
        "import paddle_hrfamily",
        "import paddle_hrfamily; dir(paddle_hrfamily); paddle_hrfamily.UserError",
        "import paddle_hrfamily.host.hook, paddle_hrfamily.host.environment",
        "from paddle_hrfamily.__main__ import main; main(['--help'])",
        "from paddle_hrfamily.__main__ import main; main(['no such command'])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    said = run("-c", f"{code}\nimport sys; print(*sorted({set(HEAVY)} & set(sys.modules)))", PYTHONPATH=str(ROOT))
    assert said.splitlines()[-1] == ""
