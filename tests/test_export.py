"""Export: the written graph computes what the network does, or nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from paddle import inference

from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.weights import save
from paddle_hrfamily.zoo import create_model

CONFIG = "uhrnet_w18_small_camvid.yml"
SMALLER = ("--opts", "model.backbone.type=HRNet", "model.backbone.variant=W18_Small_V1")
pytestmark = pytest.mark.line


def export(*arguments: object) -> int:
    return run_command("export", ["--config", CONFIG, *map(str, arguments), *SMALLER], prog="hrfamily export")


def infer(folder: Path, image: np.ndarray) -> np.ndarray:
    config = inference.Config(str(folder / "model.pdmodel"), str(folder / "model.pdiparams"))
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(np.ascontiguousarray(image))
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[paddle.nn.Layer, Path]:
    """A network whose weights are not as initialised, and the file that holds them."""
    paddle.seed(3)
    model = create_model("hrnet_w18_small_v1", num_classes=11)
    model.head.classify.weight.set_value(1e-3 * paddle.randn(model.head.classify.weight.shape))
    file = tmp_path_factory.mktemp("weights") / "model.pdparams"
    save({key: value.numpy() for key, value in model.state_dict().items()}, file)
    model.eval()
    return model, file


@pytest.fixture(scope="module")
def open_labels(trained: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a plain export writes: any size in, labels out."""
    folder = tmp_path_factory.mktemp("open") / "inference_model"
    assert export("--model_path", trained[1], "--save_dir", folder) == 0
    return folder


@pytest.mark.parametrize("size", [(64, 96), (97, 161), (33, 40)])
def test_labels_at_any_size(trained: tuple, open_labels: Path, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).standard_normal((2, 3, *size), dtype=np.float32)
    labels = infer(open_labels, image)
    with paddle.no_grad():
        expected = trained[0](paddle.to_tensor(image))[0].argmax(axis=1).numpy()
    assert labels.dtype == np.int32 and labels.shape == (2, *size)
    assert (labels == expected).mean() > 0.999


@pytest.mark.parametrize("output", ["softmax", "none", "logits"])
def test_fixed_shape_with_planes(trained: tuple, tmp_path: Path, output: str) -> None:
    arguments = ("--model_path", trained[1], "--save_dir", tmp_path, "--input_shape", 1, 3, 64, 96)
    assert export(*arguments, "--output_op", output) == 0
    image = np.random.default_rng(2).standard_normal((1, 3, 64, 96), dtype=np.float32)
    with paddle.no_grad():
        expected = trained[0](paddle.to_tensor(image))[0]
    if output == "softmax":
        expected = paddle.nn.functional.softmax(expected, axis=1)
    np.testing.assert_allclose(infer(tmp_path, image), expected.numpy(), atol=1e-3)
    deploy = yaml.safe_load((tmp_path / "deploy.yaml").read_text())["Deploy"]
    assert deploy["output_op"] == ("softmax" if output == "softmax" else "none")
    assert deploy["input_shape"] == [1, 3, 64, 96]


def test_paddleseg_reads_the_description(open_labels: Path) -> None:
    from paddleseg.deploy.infer import DeployConfig

    config = DeployConfig(str(open_labels / "deploy.yaml"))
    assert Path(config.model).is_file() and Path(config.params).is_file()
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype("float32")
    prepared = config.transforms({"img": image})["img"]
    assert infer(open_labels, prepared[None]).shape == (1, 60, 70)


def test_the_description_names_and_colours_the_classes(open_labels: Path) -> None:
    deploy = yaml.safe_load((open_labels / "deploy.yaml").read_text())["Deploy"]
    assert deploy["class_names"][:3] == ["sky", "building", "pole"]
    assert len(deploy["class_colors"]) == 11 and deploy["class_colors"][3] == [128, 64, 128]
    assert deploy["output_dtype"] == "int32" and deploy["input_shape"] == [-1, 3, -1, -1]


def test_names_for_fastdeploy(trained: tuple, tmp_path: Path) -> None:
    assert export("--model_path", trained[1], "--save_dir", tmp_path, "--for_fd", "--input_shape", 1, 3, 32, 32) == 0
    assert {"inference.pdmodel", "inference.pdiparams", "inference.yml"} <= {file.name for file in tmp_path.iterdir()}


def test_a_graph_that_differs_is_not_written(monkeypatch, capsys, trained: tuple, tmp_path: Path) -> None:
    right = static_graph.load
    monkeypatch.setattr(static_graph, "load", lambda prefix: lambda image: np.roll(right(prefix)(image), 1, axis=-1))
    folder = tmp_path / "exported"
    assert export("--model_path", trained[1], "--save_dir", folder, "--input_shape", 1, 3, 64, 64) == 2
    assert "differs from the network" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize("output", ["argmax", "softmax", "none"])
def test_the_comparison_sees_one_wrong_pixel(output: str) -> None:
    logits = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype("float32")
    result = {"argmax": logits.argmax(1).astype("int32"), "softmax": static_graph._softmax(logits), "none": logits}
    static_graph.compare(result[output], logits, output)
    wrong = result[output].copy()
    wrong[..., 3, 5] = (wrong[..., 3, 5] + 1) % 4 if output == "argmax" else wrong[..., 3, 5] + 0.01
    with pytest.raises(UserError, match="differs from the network"):
        static_graph.compare(wrong, logits, output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input_shape", 1, 3, 64], ["--input_shape 1 3 64", "1 3 512 1024"]),
        (["--input_shape", 1, 4, 64, 64], ["--input_shape 1 4 64 64", "channels"]),
        (["--input_shape", 1, 3, 16, 64], ["start at 32"]),
        (["--model_path", "absent.pdparams"], ["absent.pdparams"]),
        (["--save_dir", __file__, "--input_shape", 1, 3, 32, 32], ["--save_dir", "cannot be written"]),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, arguments: list, words: list[str]) -> None:
    extra = [] if "--save_dir" in arguments else ["--save_dir", tmp_path / "out"]
    assert export(*arguments, *extra) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and all(word in error for word in words)
    assert not (tmp_path / "out").exists()


ATTENTIONS = {
    "query transposed": lambda q, k: _rows(q).transpose([0, 2, 1]) @ _rows(k),
    "flattened": lambda q, k: q.flatten(2).transpose([0, 2, 1]) @ _rows(k),
    "scaled": lambda q, k: (_rows(q).transpose([0, 2, 1]) * 0.3) @ _rows(k),
    "key transposed": lambda q, k: _rows(q) @ paddle.nn.functional.softmax(_rows(k), -1).transpose([0, 2, 1]),
    "value transposed": lambda q, k: paddle.nn.functional.softmax(_rows(q), -1) @ _rows(k).transpose([0, 2, 1]),
    "maps": lambda q, k: q @ k.transpose([0, 1, 3, 2]),
    "with itself": lambda q, k: paddle.matmul(_rows(q).transpose([0, 2, 1]), _rows(q)),
}


def _rows(x: paddle.Tensor) -> paddle.Tensor:
    return x.reshape([0, 20, -1])


class Attention(paddle.nn.Layer):
    def __init__(self, attend: Callable) -> None:
        super().__init__()
        self.query, self.key, self.attend = paddle.nn.Conv2D(3, 20, 3, padding=1), paddle.nn.Conv2D(3, 20, 1), attend

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.attend(paddle.nn.functional.relu(self.query(x)), self.key(x))


@pytest.mark.parametrize("attend", ATTENTIONS.values(), ids=ATTENTIONS.keys())
def test_attention_over_what_convolutions_made(tmp_path: Path, attend: Callable) -> None:
    paddle.seed(0)
    model = Attention(attend)
    image = np.random.default_rng(0).standard_normal((1, 3, 6, 8), dtype=np.float32)
    expected = model(paddle.to_tensor(image)).numpy()
    static_graph.write(model, [paddle.static.InputSpec([-1, 3, -1, -1], "float32", name="x")], tmp_path / "model")
    np.testing.assert_allclose(infer(tmp_path, image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cells", [1, 3, 8, (2, 8)])
def test_pooling_to_cells_after_an_image_that_they_divide(tmp_path: Path, cells: int | tuple[int, int]) -> None:
    paddle.seed(0)
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 20, 1), paddle.nn.AdaptiveAvgPool2D(cells))
    images = [np.random.default_rng(0).standard_normal((2, 3, *size), dtype=np.float32) for size in [(16, 24), (13, 7)]]
    expected = [model(paddle.to_tensor(image)).numpy() for image in images]
    static_graph.write(model, [paddle.static.InputSpec([-1, 3, -1, -1], "float32", name="x")], tmp_path / "model")
    run = static_graph.load(tmp_path / "model")
    for image, result in zip(images, expected):
        np.testing.assert_allclose(run(image), result, rtol=1e-4, atol=1e-5)
