"""The predictor's label maps beside those that `python -m paddleseg.val` scores, of the same config and weights."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from hrfamily_deploy.imaging.image_files import decode
from hrfamily_deploy.imaging.preprocess import Pipeline
from hrfamily_deploy.predictor import Predictor
from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.weights import save
from paddle_hrfamily.zoo import create_model
from tests.deploy.conftest import NORMALIZE

ROOT = Path(__file__).resolve().parents[2]
CONFIG, SHARED = ROOT / "configs" / "hrnet_w18_small_v2_camvid.yml", ROOT.parent / "shared"
IMAGES, CLASSES = 2, 11
TIE = 1e-4  # of the greatest two logits: which of them a runtime finds greater is a matter of rounding
# Images are 480x360 (width x height), so that short and long sides, odd sizes and both ratios occur.
CHAINS = {
    "normalise": [NORMALIZE],
    "resize": [{"type": "Resize", "target_size": [256, 256]}, NORMALIZE],
    "enlarge": [{"type": "Resize", "target_size": [500, 390], "interp": "CUBIC"}, NORMALIZE],
    "keep ratio": [{"type": "Resize", "target_size": [250, 250], "keep_ratio": True}, NORMALIZE],
    "keep ratio, divisor": [
        {"type": "Resize", "target_size": [330, 260], "keep_ratio": True, "size_divisor": 32},
        NORMALIZE,
    ],
    "short": [{"type": "ResizeByShort", "short_size": 197}, NORMALIZE],
    "short, limited": [{"type": "ResizeByShort", "short_size": 300, "max_size": 320}, NORMALIZE],
    "pad, then normalise": [{"type": "Padding", "target_size": [512, 384]}, NORMALIZE],
    "normalise, then pad": [NORMALIZE, {"type": "Padding", "target_size": [512, 384], "im_padding_value": 0.0}],
    "resize and pad": [
        {"type": "ResizeByShort", "short_size": 200},
        {"type": "Padding", "target_size": [288, 224]},
        NORMALIZE,
    ],
}
FORMS = {"logits": ["--output_op", "none"], "fast": ["--fast"]}
FAST = ("normalise", "short", "pad, then normalise")  # the other form of a graph, where Normalize comes last
pytestmark = pytest.mark.line
Photo = Callable[..., np.ndarray]


class Seen(NamedTuple):
    """Of an image: the label map that is scored (H, W), and by how much the greatest logit exceeds the next."""

    label: np.ndarray
    lead: np.ndarray


@pytest.fixture(scope="module")
def images(photo: Photo, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real ones if they lie beside the checkout. `list.txt` in their folder pairs them with label maps."""
    folder = tmp_path_factory.mktemp("images")
    camvid, files = SHARED / "data" / "camvid", []
    if camvid.is_dir():
        lines = (camvid / "val.txt").read_text().split("\n")
        for line in lines[:: len(lines) // IMAGES][:IMAGES]:
            image, label = map(camvid.joinpath, line.split())
            files.append(Path(shutil.copy(image, folder)))
            shutil.copy(label, files[-1].with_suffix(".label.png"))
    for number in range(IMAGES - len(files)):
        files.append(folder / f"{number}.png")
        Image.fromarray(photo(360, 480, number)).save(files[-1])
        Image.fromarray(np.full((360, 480), number, np.uint8)).save(files[-1].with_suffix(".label.png"))
    (folder / "list.txt").write_text("".join(f"{file.name} {file.stem}.label.png\n" for file in files))
    return files


@pytest.fixture(scope="module")
def weights(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a random network whose classes are about as likely as each other on one of the images."""
    paddle.seed(11)
    model = create_model("hrnet_w18_small_v1", num_classes=CLASSES)
    last = model.head.classify
    last.weight.set_value(paddle.randn(last.weight.shape))
    model.eval()
    planes = Pipeline([NORMALIZE], 3, CONFIG)(decode(images[0], 3)).planes
    with paddle.no_grad():
        logits = model(paddle.to_tensor(planes[None]))[0]
        mean, spread = logits.mean(axis=[0, 2, 3]), logits.std(axis=[0, 2, 3])
        last.bias.set_value((last.bias - mean) / spread)
        last.weight.set_value(last.weight / spread.reshape([-1, 1, 1, 1]))
    file = tmp_path_factory.mktemp("weights") / "model.pdparams"
    save({key: value.numpy() for key, value in model.state_dict().items()}, file)
    return file


@pytest.fixture
def config(images: list[Path], tmp_path: Path) -> Callable[[list[dict]], Path]:
    folder = images[0].parent

    def write(chain: list[dict]) -> Path:
        dataset = {"dataset_root": str(folder), "val_path": str(folder / "list.txt"), "transforms": chain}
        smaller = {"backbone": {"variant": "W18_Small_V1"}}
        content = {"_base_": str(CONFIG), "val_dataset": dataset, "model": smaller}
        (tmp_path / "config.yml").write_text(yaml.safe_dump(content))
        return tmp_path / "config.yml"

    return write


def evaluated(config: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What PaddleSeg's loop gets for each image from its own inference, before it scores it."""
    infer, seen = importlib.import_module("paddleseg.core.infer"), []
    inference = infer.inference

    def recorded(*arguments: object, **options: object) -> tuple[paddle.Tensor, paddle.Tensor]:
        label, logits = inference(*arguments, **options)
        greatest = np.sort(logits.numpy()[0], axis=0)[-2:]
        seen.append(Seen(label.numpy()[0, 0], greatest[1] - greatest[0]))
        return label, logits

    with monkeypatch.context() as patched:
        patched.setattr(infer, "inference", recorded)
        arguments = ["--config", str(config), "--model_path", str(weights), "--device", "cpu"]
        assert run_command("val", arguments, prog="python -m paddleseg.val") == 0
    return seen


@pytest.mark.parametrize(("name", "form"), [*((name, "logits") for name in CHAINS), *((name, "fast") for name in FAST)])
def test_label_maps_are_those_that_are_scored(
    config: Callable[[list[dict]], Path],
    weights: Path,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    form: str,
) -> None:
    file, folder = config(CHAINS[name]), tmp_path / "exported"
    seen = evaluated(file, weights, monkeypatch)
    arguments = ["--config", str(file), "--model_path", str(weights), "--save_dir", str(folder), *FORMS[form]]
    assert run_command("export", arguments, prog="hrfamily export") == 0
    labels = list(Predictor(folder, device="cpu", threads=1).predict_each(images))
    assert len(labels) == len(seen) == IMAGES
    for label, (scored, lead) in zip(labels, seen):
        assert len(np.unique(scored)) > 3 and (lead <= TIE).mean() < 0.01, "there would be nothing to compare"
        assert label.shape == scored.shape == (360, 480)
        differ = label != scored
        assert not (differ & (lead > TIE)).any(), f"{differ.sum()} pixels, leads up to {lead[differ].max()}"
