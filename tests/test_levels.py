"""What each level of Specialize and Fuse predicts: its table 9 and figure 3, counted cell by cell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddleseg import core
from paddleseg.datasets import Dataset
from paddleseg.transforms import Normalize, Resize

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.backbones import HRNet
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation import levels
from paddle_hrfamily.inference.protocol import Protocol
from paddle_hrfamily.integration import registration
from paddle_hrfamily.models import HRNetSeg, SpecializeFuse
from tests import tiny

C, IGNORE = len(tiny.CLASSES), 255
STRIDES = (4, 8, 16)
SIZE = (64, 96)  # of the label; the coarsest cells divide it


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


@pytest.fixture(scope="module")
def model() -> SpecializeFuse:
    """As it begins, but with unity probabilities on both sides of the threshold."""
    paddle.seed(0)
    model = SpecializeFuse(HRNet("W18_Small_V1"), C, strides=STRIDES)
    model.eval()
    for layer in model.head.semantic.sublayers():
        if isinstance(layer, paddle.nn.Conv2D) and layer.bias is not None:
            layer.weight.set_value(paddle.randn(layer.weight.shape))
    return model


def data(folder: Path, transforms: list | None = None) -> Dataset:
    path = tiny.dataset(folder, count=3)
    return Dataset(
        dataset_root=str(folder),
        transforms=transforms or [Resize(SIZE[::-1]), Normalize()],
        num_classes=C,
        mode="val",
        val_path=str(path),
    )


def heads(model: SpecializeFuse, image: paddle.Tensor) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Logits (K, h, w) of every level, unity probabilities (h, w), both coarsest first, and the fused logits."""
    with paddle.no_grad():
        feature = levels_feature(model, image)
        semantic = [logits.numpy()[0] for logits in model.head.semantic(feature)]
        unity = [paddle.nn.functional.sigmoid(logits).numpy()[0, 0] for logits in model.head.unity(feature)]
        return semantic, unity, model(image)[0].numpy()[0]


def levels_feature(model: SpecializeFuse, image: paddle.Tensor) -> paddle.Tensor:
    feats = model.backbone(image)
    size = feats[0].shape[2:]
    resized = [paddle.nn.functional.interpolate(feat, size, mode="bilinear") for feat in feats]
    return paddle.concat(resized, axis=1)


def up(maps: np.ndarray, factor: int) -> np.ndarray:
    return maps.repeat(factor, -2).repeat(factor, -1)


def iou(predicted: np.ndarray, label: np.ndarray) -> list[float]:
    """Of the classes that the label has; NaN for the others."""
    values = []
    for number in range(C):
        one, other = predicted == number, label == number
        values.append((one & other).sum() / (one | other).sum() if other.any() else np.nan)
    return values


def test_levels_are_counted_by_their_definition(model: SpecializeFuse, tmp_path: Path) -> None:
    dataset = data(tmp_path)
    threshold = 0.5 * (np.quantile(heads(model, paddle.to_tensor(dataset[0]["img"][None]))[1][0], [0.4, 0.6])).sum()
    model.head.threshold = float(threshold)
    report = levels.evaluate(model, dataset, quiet=True)

    groups: list[np.ndarray] = []
    answers: list[list[np.ndarray]] = []
    labels = []
    for index in range(len(dataset)):
        sample = dataset[index]
        semantic, unity, fused = heads(model, paddle.to_tensor(sample["img"][None]))
        size = sample["label"].shape[-2:]

        def at_label(maps: np.ndarray, mode: str, size: tuple[int, int] = size) -> np.ndarray:
            tensor = paddle.to_tensor(maps[None].astype("float32"))
            for target in (SIZE, size):
                tensor = paddle.nn.functional.interpolate(tensor, list(target), mode=mode)
            return tensor.numpy()[0]

        assigned = np.full(semantic[-1].shape[1:], 2)  # the finest, where no coarser cell claims it
        assigned[up(unity[1], 2) >= threshold] = 1
        assigned[up(unity[0], 4) >= threshold] = 0
        groups.append(at_label(assigned[None], "nearest")[0].ravel())
        maps = [up(semantic[0], 4), up(semantic[1], 2), semantic[2]]
        answers.append([at_label(m, "bilinear").argmax(0).ravel() for m in (*maps, fused)])
        labels.append(sample["label"].ravel())
    group, label = np.concatenate(groups), np.concatenate(labels)
    answer = [np.concatenate(column) for column in zip(*answers)]
    kept = label != IGNORE
    assert {0, 1, 2} >= set(group) and len(set(group)) > 1
    for by in range(3):
        for level in range(3):
            inside = kept & (group == level)
            expected = np.nanmean(iou(answer[by][inside], label[inside])) if inside.any() else np.nan
            assert report.miou()[by, level] == pytest.approx(expected, nan_ok=True)
        alone = iou(answer[by][kept], label[kept])
        assert report.alone()[by] == pytest.approx(np.nanmean(alone))
        np.testing.assert_allclose(report.degradation()[by], np.subtract(alone, iou(answer[3][kept], label[kept])))
    np.testing.assert_allclose(report.shares(), [(group[kept] == level).mean() for level in range(3)])
    confusion = core.evaluate(model, dataset, print_detail=False).report.confusion
    np.testing.assert_array_equal(report.counts[:, -1, :C, :C].sum(axis=0), confusion)  # the fused prediction's


def test_the_report_says_levels_as_the_paper_counts_them(model: SpecializeFuse, tmp_path: Path) -> None:
    report = levels.evaluate(model, data(tmp_path), quiet=True)
    assert "level 1 (1/16)" in report.table() and "level 3 (1/4)" in report.table()
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))["levels"]
    assert content["strides"] == [16, 8, 4]
    assert np.shape(content["miou_rows_predict_columns_assigned"]) == (3, 3)
    assert set(content["iou_less_fused"]) == {"class 0", "class 1", "class 2"}


def test_a_protocol_says_at_which_size_images_are_seen(model: SpecializeFuse, tmp_path: Path) -> None:
    half = levels.evaluate(model, data(tmp_path, [Resize([48, 32]), Normalize()]), quiet=True)
    protocol = Protocol.read({"single": {"long_side": SIZE[1]}}, "single")
    seen = levels.evaluate(model, data(tmp_path, [Resize([48, 32]), Normalize()]), protocol=protocol, quiet=True)
    assert not np.array_equal(half.counts, seen.counts)
    assert half.counts[:, -1, :C].sum() == seen.counts[:, -1, :C].sum() > 0


def test_other_networks_have_no_levels(tmp_path: Path) -> None:
    for network in (HRNetSeg(HRNet("W18_Small_V1"), C), SpecializeFuse(HRNet("W18_Small_V1"), C, strides=(4,))):
        with pytest.raises(UserError, match="has no levels"):
            levels.evaluate(network, data(tmp_path))


def test_val_reports_levels_and_boundaries(tmp_path: Path, capsys) -> None:
    section = {"type": "SpecializeFuse", "backbone": {"type": "HRNet", "variant": "W18_Small_V1"}, "num_classes": C}
    config = tiny.config(tmp_path, model=section, loss={"types": [{"type": "CrossEntropyLoss"}], "coef": [1]})
    out = tmp_path / "scores.json"
    assert (
        main(["val", "--config", str(config), "--levels", "--boundary_iou", "--json", str(out), "--device", "cpu"]) == 0
    )
    content = json.loads(out.read_text())
    assert len(content["levels"]["miou_alone"]) == 4 and 0 <= content["boundary_iou"]["mean"] <= 1
    printed = capsys.readouterr().out
    assert "assigned to level 1 (1/32)" in printed and "Boundary IoU" in printed
