"""hrfamily convert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.registry import Published
from paddle_hrfamily.weights import load_weights, read, save
from paddle_hrfamily.weights.files import open_weights
from paddle_hrfamily.zoo import create_model
from tests.parity import Parity

CHECKPOINT = "hrnet_w18_small_v1_training.pth.tar"


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_a_training_checkpoint(parity: Parity, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = parity.checkpoint(CHECKPOINT), tmp_path / f"out{suffix}"
    assert main(["convert", str(source), str(target)]) == 0
    assert "363 of 363 tensors matched" in (said := capsys.readouterr().out)
    assert f"wrote the network of hrnet_w18_small_v1 to {target}" in said
    direct, converted = (create_model("hrnet_w18_small_v1", num_classes=19) for _ in range(2))
    load_weights(direct, source)
    assert load_weights(converted, target).layout == "own"
    for name, tensor in direct.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), converted.state_dict()[name].numpy())


def test_the_padding_is_not_forgotten(parity: Parity, tmp_path: Path) -> None:
    """Our names do not tell which padding the weights need; the converted file does."""
    save(parity.state_dict("paddleseg_uhrnet_w18_small_fcn"), tmp_path / "in.pdparams")
    assert main(["convert", str(tmp_path / "in.pdparams"), str(tmp_path / "out.pdparams")]) == 0
    assert open_weights(tmp_path / "out.pdparams").padding == "same"


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_corners_are_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """What is known of a published file is written into the converted one, which is held to it."""
    source, target = tmp_path / "published.pdparams", tmp_path / f"out{suffix}"
    save(create_model("hrnet_w18_small_v1", num_classes=19).state_dict(), source)
    known = Published("https://h/published.pdparams", "symmetric", align_corners=True)
    for place in ("published", "loading"):
        about = f"paddle_hrfamily.weights.{place}.about"
        monkeypatch.setattr(about, lambda given: known if given == str(source) else None)
    assert main(["convert", str(source), str(target)]) == 0
    assert open_weights(target).align_corners is True
    with pytest.raises(UserError, match="trained with align_corners True"):
        load_weights(create_model("hrnet_w18_small_v1", num_classes=19), target)
    load_weights(create_model("hrnet_w18_small_v1", num_classes=19, align_corners=True), target)


def test_a_backbone_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = UHRNet("W18_Small", in_channels=4)
    save(backbone.state_dict(), tmp_path / "in.safetensors", padding="same")
    assert main(["convert", str(tmp_path / "in.safetensors"), str(tmp_path / "out.pdparams")]) == 0
    assert "wrote the backbone of uhrnet_w18_small" in capsys.readouterr().out
    arrays = read(tmp_path / "out.pdparams")
    assert arrays.keys() == {f"backbone.{name}" for name in backbone.state_dict()}


@pytest.mark.parametrize(
    ("fixture", "name", "auxiliary"),
    [
        ("ddrnet_23_slim_aux", "ddrnet_23_slim", True),
        ("mmseg_ddrnet_23_slim", "ddrnet_23_slim", True),
        ("ddrnet_23_slim_cls", "ddrnet_23_slim_cls", None),
        ("hrnet_w18_small_v2_ocr_alignF", "hrnet_w18_small_v2_ocr", None),
    ],
)
def test_the_network_is_found_out(
    parity: Parity, tmp_path: Path, capsys: pytest.CaptureFixture[str], fixture: str, name: str, auxiliary: bool | None
) -> None:
    arrays = parity.state_dict(fixture)
    save(arrays, tmp_path / "in.safetensors")
    assert main(["convert", str(tmp_path / "in.safetensors"), str(tmp_path / "out.pdparams")]) == 0
    assert f"wrote the network of {name} to" in capsys.readouterr().out
    direct, converted = (create_model(name, auxiliary=auxiliary) for _ in range(2))
    load_weights(direct, arrays)
    load_weights(converted, tmp_path / "out.pdparams")
    for key, tensor in direct.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), converted.state_dict()[key].numpy())


def test_other_classes_are_kept(tmp_path: Path) -> None:
    save(create_model("ddrnet_23_slim", num_classes=7).state_dict(), tmp_path / "in.safetensors")
    assert main(["convert", str(tmp_path / "in.safetensors"), str(tmp_path / "out.pdparams")]) == 0
    assert read(tmp_path / "out.pdparams")["head.classify.bias"].shape == (7,)


def test_nothing_is_overwritten_unasked(parity: Parity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = parity.checkpoint(CHECKPOINT), tmp_path / "out.pdparams"
    target.write_text("precious")
    assert main(["convert", str(source), str(target)]) == 2
    assert "out.pdparams exists; --force overwrites it" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert main(["convert", str(source), str(target), "--force"]) == 0
    assert len(read(target)) == 363


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "hrnet_w48"], "another size"),
        (["--model", "hrnet_w18_smal_v1"], "did you mean hrnet_w18_small_v1"),
        (["--num_classes", "7"], "tells 19 classes apart and this network 7"),
    ],
)
def test_a_wrong_network(
    parity: Parity, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    source, target = parity.checkpoint(CHECKPOINT), tmp_path / "out.pdparams"
    assert main(["convert", str(source), str(target), *options]) == 2
    assert says in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("target", "says"), [("out.pth", "name it *.pdparams or *.safetensors"), ("out", "name it *.pdparams")]
)
def test_unknown_suffixes(tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, says: str) -> None:
    assert main(["convert", "in.pth", str(tmp_path / target)]) == 2
    assert says in capsys.readouterr().err


def test_shapes_of_no_network_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {name: tensor.numpy() for name, tensor in HRNet("W18_Small_V1").state_dict().items()}
    cut = {name: value for name, value in state.items() if not name.startswith("stages.2.")}
    save(cut, tmp_path / "in.pdparams")
    assert main(["convert", str(tmp_path / "in.pdparams"), str(tmp_path / "out.pdparams")]) == 2
    assert "of none of the networks here; name one with --model" in capsys.readouterr().err
