"""Imports point one way, in both packages, and importing the package costs next to nothing."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.fakes import ROOT, run

HOMES = {"paddle_hrfamily": ROOT, "hrfamily_deploy": ROOT / "deploy"}
# The rooms of each package, the lowest first. A room imports from those above it in this list, and from itself; rooms
# of one line know nothing of each other.
ORDER = {
    "paddle_hrfamily": """
        errors
        system | files | patching | registry
        layers | losses
        contract | complexity
        blocks | weights
        multires
        backbones | heads
        models
        zoo
        data
        visualization
        inference
        evaluation | checkpointing
        export | training
        integration
        ablation | doctor
        commands
        __init__ | __main__
    """,
    "hrfamily_deploy": """
        errors
        files | cpu | progress | modules | colors
        imaging | bundle
        polygons
        image_processor
        runtime
        predictor
        tiling
        windows
        segmentation | convert | serving | benchmarking
        client
        scripts
        __init__ | __main__
    """,
}
# What a room may import from outside, beside the standard library. The others: anything that is required.
NETWORKS = ("layers", "contract", "blocks", "multires", "backbones", "heads", "models", "zoo", "complexity")
OUTSIDE = {
    "errors": set(),
    "registry": set(),
    **{room: {"paddle"} for room in NETWORKS},
    "losses": {"paddle", "numpy"},
    "weights": {"paddle", "numpy", "safetensors", "huggingface_hub", "requests", "tqdm", "filelock"},
}
# PaddleSeg is integration's. Beside that, data sets are its data sets, three rooms run its functions or put ours around
# them, and whoever runs it as a user does: commands, comparisons, the doctor. `patching` finds its modules for them.
OF_PADDLESEG = {
    *("integration", "data", "inference", "evaluation", "checkpointing", "training"),
    *("commands", "ablation", "doctor", "patching"),
}
# What rooms of paddle_hrfamily take from hrfamily_deploy, its lower layer: errors, files, images, the reading of CPUs,
# progress bars; and, where exported folders are the subject, all of it.
FROM_DEPLOY = {
    "errors": {"errors"},
    "files": {"files"},
    "system": {"cpu"},
    "data": {"colors", "files", "imaging", "progress"},
    "weights": {"progress"},
    "visualization": {"files", "imaging", "colors"},
    "inference": {"files", "imaging", "progress", "colors", "polygons"},
    "evaluation": {"imaging"},
    "checkpointing": {"files"},
    "export": {"files", "bundle", "convert", "imaging", "predictor", "progress", "runtime"},
    "training": {"imaging", "progress"},
    "integration": {"progress"},
    "commands": {"bundle", "cpu", "files", "imaging", "progress", "scripts"},
    "__main__": {"scripts"},
}
# Two ways up that are meant: the thin modules inside PaddleSeg are command lines, and everyone may know the version.
UPWARD = {("paddle_hrfamily.integration.paddleseg_modules", "commands")}
STDLIB = sys.stdlib_module_names  # Python 3.10


def parts(order: str) -> list[list[str]]:
    return [line.replace("|", " ").split() for line in order.strip().splitlines()]


RANKS = {
    package: {room: rank for rank, line in enumerate(parts(order)) for room in line} for package, order in ORDER.items()
}


@cache
def modules() -> dict[str, Path]:
    """Every module of both packages by its dotted name; a package's own file has the package's name."""
    found = {}
    for package, home in HOMES.items():
        for file in sorted((home / package).rglob("*.py")):
            name = ".".join(file.relative_to(home).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


def imports(file: Path) -> Iterator[str]:
    """Every module that the file's statements import, lazily and for type checkers as well; else MODULE.NAME."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: line {node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> tuple[str, str]:
    """Package and room of a dotted name."""
    package, _, rest = name.partition(".")
    first = rest.split(".")[0]
    return package, first if first in RANKS[package] else "__init__"


@pytest.mark.parametrize("name", modules())
def test_imports_point_one_way(name: str) -> None:
    package, here = room(name)
    for target in imports(modules()[name]):
        top = target.split(".")[0]
        if top == package:
            there = room(target)[1]
            meant = (name.rpartition(".")[0], there) in UPWARD or target == f"{package}.__version__"
            if there != here and not meant:
                assert RANKS[package][there] < RANKS[package][here], f"{here} may not import {target}"
        elif top in HOMES:
            assert package == "paddle_hrfamily", f"hrfamily_deploy stands alone and may not import {target}"
            assert room(target)[1] in FROM_DEPLOY.get(here, ()), f"{here} may not import {target}"
        elif top == "paddleseg":
            assert package == "paddle_hrfamily" and here in OF_PADDLESEG, f"{here} may not import {target}"
        elif package == "paddle_hrfamily" and here in OUTSIDE:
            assert top in STDLIB or top in OUTSIDE[here], f"{here} may not import {target}"


@pytest.mark.parametrize("package", HOMES)
def test_every_room_has_a_rank(package: str) -> None:
    found = {room.removesuffix(".py") for room in os.listdir(HOMES[package] / package) if not room.endswith(".typed")}
    assert found - {"__pycache__"} == set(RANKS[package])


def imported_modules(name: str) -> set[str]:
    """The modules of both packages that a module imports. A name from a package's own file counts as the package."""
    known = modules()
    found = {target if target in known else target.rpartition(".")[0] for target in imports(known[name])}
    return {target for target in found if target in known and target != name}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in stack:
                lowest[name] = min(lowest[name], index[target])
        if lowest[name] == index[name]:
            component = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(component) > 1:
                found.append(component)

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set(), "f": {"g"}, "g": {"f"}}
    assert sorted(map(sorted, circles(graph))) == [["a", "b", "c"], ["f", "g"]]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imported_modules(name) for name in modules()}
    assert sum(map(len, graph.values())) > 300  # it has read them
    assert circles(graph) == []


def test_whatever_is_imported_is_required() -> None:
    """Of requirements.txt or of an extra; nothing comes in by way of somebody else's requirements."""
    called = {"cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml", "paddle": "paddlepaddle"}
    declared = (ROOT / "requirements.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    files = [file for name, file in modules().items() if name.startswith("paddle_hrfamily")]
    for name in sorted({name.split(".")[0] for file in files for name in imports(file)} - STDLIB - set(HOMES)):
        assert re.search(rf'(?m)(^|"){called.get(name, name)}\b', declared), f"{name} is imported and not required"


HEAVY = ("paddle", "paddleseg", "numpy", "cv2", "scipy", "matplotlib", "visualdl", "safetensors", "huggingface_hub")


@pytest.mark.parametrize(
    "code",
    [
        "import paddle_hrfamily",
        "import paddle_hrfamily; dir(paddle_hrfamily); paddle_hrfamily.UserError",
        "import paddle_hrfamily.integration.hook, paddle_hrfamily.system",
        "from paddle_hrfamily.__main__ import main; main(['--help'])",
        "from paddle_hrfamily.__main__ import main; main(['--version'])",
        "from paddle_hrfamily.__main__ import main; main(['no such command'])",
        "from paddle_hrfamily.commands import parser; parser('train', 'hrfamily train').format_help()",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    path = os.pathsep.join(map(str, HOMES.values()))
    said = run("-c", f"{code}\nimport sys; print(*sorted({set(HEAVY)} & set(sys.modules)))", PYTHONPATH=path)
    assert said.splitlines()[-1] == ""
