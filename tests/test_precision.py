"""Mixed precision and static graphs in training: what a CPU has of them, and that what it has is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_hrfamily.integration import registration
from paddle_hrfamily.patching import core_module
from paddle_hrfamily.zoo import create_model
from tests import tiny

pytestmark = pytest.mark.line
CLASSES = len(tiny.CLASSES)
NO_EFFECT = "--precision fp16 has no effect on a CPU"
HRNET = {"type": "HRNet", "variant": "W18_Small_V1"}
# One of every family and head: what to_static makes of their code differs.
NETWORKS = (
    *("uhrnet_w18_small", "hrnet_w18_small_v1_ocr", "hrnet_w18_small_v1_specialize_fuse"),
    *("ddrnet_23_slim", "spgnet_r18"),
)


def train(folder: Path, model: dict, coef: list[float], *flags: object, **changes: object) -> dict[int, float]:
    """Two iterations of `hrfamily train`, and an evaluation. Returns the losses."""
    loss = {"types": [{"type": "CrossEntropyLoss"}], "coef": coef}
    config = tiny.config(folder, model={"num_classes": CLASSES, **model}, loss=loss, iters=2, **changes)
    flags = ("--device", "cpu", "--seed", 3, "--log_iters", 1, "--do_eval", "--save_dir", folder / "out", *flags)
    done = tiny.run("train", "--config", config, *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[EVAL]" in done.stdout
    assert (NO_EFFECT in done.stdout) == ("fp16" in flags)
    return {step: float(loss) for step, loss in tiny.losses(done.stdout).items()}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return train(tmp_path_factory.mktemp("single"), {"type": "HRNetSeg", "backbone": HRNET}, [1])


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_half_precision_is_float32_on_a_processor(tmp_path: Path, level: str, single: dict[int, float]) -> None:
    flags = ("--precision", "fp16", "--amp_level", level)
    assert train(tmp_path, {"type": "HRNetSeg", "backbone": HRNET}, [1], *flags) == single
    assert single.keys() == {1, 2}


def test_a_static_graph_trains_as_the_dynamic_network_does(tmp_path: Path) -> None:
    model = {"type": "OCRSeg", "channels": 32, "key_channels": 16, "dropout": 0, "backbone": HRNET}
    # Small steps: after greater ones, the order of sums alone can change a loss by more than is admitted here.
    schedule = {"type": "PolynomialDecay", "learning_rate": 0.003, "end_lr": 0, "power": 0.9}
    static = train(tmp_path / "static", model, [1, 0.4], to_static_training=True, lr_scheduler=schedule)
    dynamic = train(tmp_path / "dynamic", model, [1, 0.4], lr_scheduler=schedule)
    assert static.keys() == dynamic.keys() == {1, 2}
    np.testing.assert_allclose(list(static.values()), list(dynamic.values()), atol=2e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_trainer_gets_one_graph_of_every_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """PaddleSeg's `paddle.jit.to_static(model)`, caught in its trainer: the same outputs, and all gradients."""
    registration.register()
    network = create_model(name, CLASSES)
    for layer in network.sublayers():
        if isinstance(layer, (paddle.nn.Dropout, paddle.nn.Dropout2D)):
            layer.p = 0
    network.train()
    image = paddle.to_tensor(np.random.RandomState(0).randn(2, 3, 64, 64).astype("float32"))
    expected = [output.numpy() for output in network(image)]

    class Converted(Exception):
        pass

    def caught(message: str) -> None:
        raise Converted(message)

    monkeypatch.setattr(core_module("train").logger, "info", caught)
    data = [{"img": image[0], "label": image[0, 0]}] * 2
    with pytest.raises(Converted, match="to_static"):
        core_module("train").train(network, data, save_dir=str(tmp_path), to_static_training=True)
    outputs = network(image)
    for output, dynamic in zip(outputs, expected):
        np.testing.assert_allclose(output.numpy(), dynamic, atol=1e-4)
    sum(output.mean() for output in outputs).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in network.parameters() if not p.stop_gradient)
