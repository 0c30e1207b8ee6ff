"""`hrfamily explain`: the guided attention of a class, by hand and as a user runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from paddle.nn import functional as F

from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.data.street_renderer import render_street
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.inference.attention import ClassAttention, class_numbers, heat, normalised
from paddle_hrfamily.models import HRNetSeg, SPGNet
from paddle_hrfamily.weights import save
from paddle_hrfamily.zoo import create_model

MODEL = {"type": "SPGNet", "encoders": ["R18", "R18"], "decoder_channels": 32, "num_classes": 8}
CONFIG = {
    "batch_size": 1,
    "iters": 1,
    "train_dataset": {"type": "StreetScenes", "mode": "train", "transforms": [{"type": "Normalize"}]},
    "val_dataset": {
        "type": "StreetScenes",
        "mode": "val",
        "transforms": [{"type": "Resize", "target_size": [96, 64]}, {"type": "Normalize"}],
    },
    "test_config": {"aug_eval": True, "aug_pred": True, "scales": [1.0, 0.5]},
    "optimizer": {"type": "SGD"},
    "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01},
    "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1]},
    "model": MODEL,
}


def network(**options) -> SPGNet:
    """With logits that are not next to zero."""
    paddle.seed(5)
    model = SPGNet(**{key: value for key, value in MODEL.items() if key != "type"} | options)
    for name, parameter in model.named_parameters():
        if name.endswith("classify.weight"):
            parameter.set_value(paddle.randn(parameter.shape))
    model.eval()
    return model


@pytest.fixture(scope="module")
def model() -> SPGNet:
    return network()


def test_the_attention_is_that_of_the_papers_figure_4(model: SPGNet) -> None:
    """Plainly: the class's row of the matrix, its 15 largest, those channels of the mask, their l2 norm."""
    image = paddle.randn([1, 3, 65, 96])
    attend = model.links[0].attend
    scale = attend.bn.weight.numpy() / np.sqrt(attend.bn._variance.numpy() + 1e-5)
    matrix = attend.conv.weight.numpy()[:, :, 0, 0].T * scale  # (classes, channels)
    with paddle.no_grad():
        mask = model.guided_attention(image)[0].numpy()[0]
        result = ClassAttention(model, [5, 2])(image)[0].numpy()
    for position, number in enumerate((5, 2)):
        top = np.argsort(matrix[number])[::-1][:15]
        norm = np.sqrt(sum(mask[channel] ** 2 for channel in top))
        expected = F.interpolate(paddle.to_tensor(norm[None, None]), [65, 96], mode="bilinear").numpy()[0, 0]
        np.testing.assert_allclose(result[0, position], expected, atol=1e-4)


def test_attention_lies_where_the_first_stage_sees_the_class() -> None:
    """Where a class alone opens its channels, its attention rises and falls with its logit."""
    model = network(num_classes=2)
    weight = np.zeros([32, 2, 1, 1], "float32")
    weight[:15, 0], weight[16:31, 1] = 1, 1
    model.links[0].attend.conv.weight.set_value(weight)
    seen: list[paddle.Tensor] = []
    model.stages[0].classify.register_forward_post_hook(lambda layer, x, logits: seen.append(logits))
    image = paddle.randn([1, 3, 64, 64])
    with paddle.no_grad():
        attention = ClassAttention(model, [0, 1])(image)[0].numpy()
        expected = F.interpolate(15**0.5 * F.sigmoid(seen[0]), [64, 64], mode="bilinear").numpy()
    np.testing.assert_allclose(attention, expected, atol=1e-3)
    assert np.abs(attention[:, 0] - attention[:, 1]).max() > 0.1


@given(arrays("float32", (4, 5), elements=st.floats(0, 100, width=32)))
def test_values_are_brought_to_0_to_1_in_their_order(attention: np.ndarray) -> None:
    result = normalised(attention)
    assert result.min() == 0 and result.max() in (0, 1)
    order = np.argsort(attention, axis=None)
    assert (np.diff(result.ravel()[order]) >= 0).all()


def test_the_greatest_is_red_and_the_least_blue() -> None:
    attention = np.linspace(0, 7, 12, dtype="float32").reshape(3, 4)
    image = np.full((3, 4, 3), 100, np.uint8)
    picture = heat(image, attention, opacity=1.0)
    least, greatest = picture[0, 0].astype(int), picture[-1, -1].astype(int)
    assert least[2] > 100 > least[0] and greatest[0] > 100 > greatest[2]
    np.testing.assert_array_equal(heat(image, attention, opacity=0.0), image)


@dataclass(frozen=True)
class Trained:
    config: Path
    weights: Path


@pytest.fixture(scope="module")
def trained(model: SPGNet, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "config.yml").write_text(yaml.safe_dump(CONFIG))
    save(model.state_dict(), folder / "model.pdparams")
    return Trained(folder / "config.yml", folder / "model.pdparams")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    for index, (name, size) in enumerate({"a.jpg": (96, 64), "b.png": (301, 199)}.items()):
        image_files.write(folder / name, render_street(np.random.default_rng(index), size)[0])
    return folder


def explain(trained: Trained, source: Path, out: Path, *flags: str) -> int:
    paths = ["--config", str(trained.config), "--model_path", str(trained.weights), "--image_path", str(source)]
    return main(["explain", *paths, "--save_dir", str(out), "--device", "cpu", *flags])


def written(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_a_folder_of_images(trained: Trained, street: Path, tmp_path: Path, capsys) -> None:
    assert explain(trained, street, tmp_path, "--classes", "car", "person") == 0
    assert written(tmp_path) == {f"{stem}{file}" for stem in "ab" for file in (".png", "/car.png", "/person.png")}
    car, person = (image_files.decode(tmp_path / f"b/{name}.png") for name in ("car", "person"))
    assert car.shape == image_files.decode(street / "b.png").shape == (199, 301, 3)
    assert np.abs(car.astype(int) - person).max() > 20
    panel = image_files.decode(tmp_path / "b.png")
    assert panel.shape[0] > 199 and panel.shape[1] > 3 * 301
    assert "b.png" in capsys.readouterr().out


def test_all_classes_are_drawn_if_none_is_named(trained: Trained, street: Path, tmp_path: Path) -> None:
    assert explain(trained, street / "a.jpg", tmp_path) == 0
    assert len(written(tmp_path)) == 9


def test_a_bad_image_does_not_stop_the_rest(trained: Trained, street: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "a.jpg").write_bytes((street / "a.jpg").read_bytes())
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    assert explain(trained, tmp_path, tmp_path / "out", "--classes", "car") == 1
    assert written(tmp_path / "out") == {"a.png", "a/car.png"}
    assert "bad.jpg: not an image" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--classes", "cars"), "no class 'cars'; did you mean car"),
        (("--stage", "2"), "--stage 2: stages 1 to 1"),
        (("--channels", "33"), "--channels 33: the guided attention has 1 to 32"),
        (("--opacity", "2"), "--opacity 2"),
        (("--image_path", "nowhere.jpg"), "nowhere.jpg does not exist"),
        (("--model_path", "nowhere.pdparams"), "nowhere.pdparams"),
        (("--opts", "model.guidance=sigmod"), "sigmod"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    trained: Trained, street: Path, tmp_path: Path, capsys, flags: tuple[str, ...], message: str
) -> None:
    assert explain(trained, street / "a.jpg", tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_weights(trained: Trained, street: Path, capsys) -> None:
    assert main(["explain", "--config", str(trained.config), "--image_path", str(street)]) == 2
    assert "--model_path is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: network(guidance="sum"), ["'sum'", "sigmoid"]),
        (lambda: network(guidance="none"), ["'none'"]),
        (lambda: network(encoders=["R18"]), ["has 1", "two stages"]),
        (lambda: create_model("hrnet_w18_small_v1"), [HRNetSeg.__name__, "SPGNet"]),
    ],
)
def test_networks_without_guided_attention(build, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        ClassAttention(build(), [0])
    assert all(word in str(caught.value) for word in words)


def test_classes_by_name_in_the_order_asked_for() -> None:
    names = ("sky", "traffic light", "car")
    assert list(class_numbers(["car", "sky"], names).items()) == [("car", 2), ("sky", 0)]
    assert list(class_numbers(None, names)) == list(names)


def test_a_trained_checkpoint_on_a_real_street(trained: Trained, shared: Path, tmp_path: Path) -> None:
    (source, *_) = sorted((shared / "data/camvid/images/test").iterdir())
    assert explain(trained, source, tmp_path, "--classes", "road") == 0
    assert image_files.decode(tmp_path / source.stem / "road.png").shape == image_files.decode(source).shape
