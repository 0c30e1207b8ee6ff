"""Where the scripts are, and exported networks small enough to be made for the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from paddle_hrfamily import layers
from paddle_hrfamily.export import static_graph

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

NORMALIZE = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CLASSES = ("sky", "road", "car", "tree", "person")
COLORS = ([70, 130, 180], [128, 64, 128], [0, 0, 142], [107, 142, 35], [220, 20, 60])
CHAINS_THAT_RESIZE = {
    "Resize": [{"type": "Resize", "target_size": [64, 64]}, NORMALIZE],
    "ResizeByLong": [{"type": "ResizeByLong", "long_size": 64}, NORMALIZE],
    "ResizeByShort": [{"type": "ResizeByShort", "short_size": 64}, NORMALIZE],
    "LimitLong": [{"type": "LimitLong", "max_long": 64}, NORMALIZE],
}
REACH = 7  # pixels at each side that a label of Tiny depends on: 1 + 2·2, and bilinear resizing by 4 beside

Describe = Callable[..., Path]


class Tiny(paddle.nn.Layer):
    """Two convolutions to a quarter of the size, and back. Its classes are about as likely as each other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = paddle.nn.Sequential(
            paddle.nn.Conv2D(3, 8, 3, stride=2, padding=1),
            paddle.nn.ReLU(),
            paddle.nn.Conv2D(8, 16, 3, stride=2, padding=1),
            paddle.nn.ReLU(),
            paddle.nn.Conv2D(16, len(CLASSES), 1, bias_attr=False),
        )

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [layers.resize_as(self.body(image), image)]


@pytest.fixture(scope="session")
def network() -> paddle.nn.Layer:
    paddle.seed(5)
    model = Tiny()
    noise = paddle.randn([8, 3, 64, 64])
    last = model.body[-1].weight
    last.set_value(last - last.mean(axis=1, keepdim=True))  # no feature speaks for a class by its size alone
    with paddle.no_grad():
        last.set_value(last * (3 / model(noise)[0].std()))
    model.eval()
    return model


@pytest.fixture(scope="session")
def graphs(network: paddle.nn.Layer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of the exported graph, by what it ends in; and one of fixed shape."""
    folder, state = tmp_path_factory.mktemp("graphs"), network.state_dict()
    shapes = {"argmax": [-1, 3, -1, -1], "softmax": [-1, 3, -1, -1], "none": [-1, 3, -1, -1], "fixed": [2, 3, 64, 96]}
    for name, shape in shapes.items():
        model = Tiny()  # exporting rewrites a network's `forward`
        model.set_state_dict(state)
        (folder / name).mkdir()
        static_graph.save(model, shape, "argmax" if name == "fixed" else name, folder / name / "model")
    return {name: folder / name for name in shapes}


def describe_in(root: Path, graphs: dict[str, Path]) -> Describe:
    """What makes, in a folder, another one with that graph and a description, entries of which may be replaced."""

    def make(graph: str = "argmax", name: str = "", **changes: object) -> Path:
        folder = root / f"exported_{graph}{name}"
        shutil.copytree(graphs[graph], folder)
        deploy = {
            "model": "model.pdmodel",
            "params": "model.pdiparams",
            "transforms": [NORMALIZE],
            "input_shape": [2, 3, 64, 96] if graph == "fixed" else [-1, 3, -1, -1],
            "output_op": "argmax" if graph == "fixed" else graph,
            "class_names": list(CLASSES),
            "class_colors": [list(color) for color in COLORS],
            **changes,
        }
        deploy = {key: value for key, value in deploy.items() if value is not None}
        (folder / "deploy.yaml").write_text(yaml.safe_dump({"Deploy": deploy}))
        return folder

    return make


@pytest.fixture
def describe(graphs: dict[str, Path], tmp_path: Path) -> Describe:
    return describe_in(tmp_path, graphs)


@pytest.fixture(scope="session")
def photo() -> Callable[[int, int, int], np.ndarray]:
    """Images (H, W, 3) RGB uint8 with large shapes and fine grain, another one for each number."""

    def make(height: int, width: int, number: int = 0) -> np.ndarray:
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (-(-height // 9), -(-width // 9), 3)).repeat(9, axis=0).repeat(9, axis=1)
        grain = random.integers(-20, 21, (height, width, 3))
        return (coarse[:height, :width] + grain).clip(0, 255).astype(np.uint8)

    return make
