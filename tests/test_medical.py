"""DSC and HD95 against hand-computed and brute-force distances, and the data set of volumes they are for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import paddle
import paddleseg.core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddleseg.transforms import Normalize, Resize
from scipy.spatial.distance import cdist

from paddle_hrfamily.data import Synapse
from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.data.label_checks import check_labels
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation import medical
from paddle_hrfamily.integration import registration


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


def box(shape: tuple[int, ...], *spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


# The two measures


def test_dice_of_two_halves() -> None:
    a, b = box((4, 4), (0, 2), (0, 4)), box((4, 4), (1, 3), (0, 4))
    assert medical.dice(a, b) == 0.5 and medical.dice(a, a) == 1 and medical.dice(a, ~a) == 0


def test_distance_of_two_points_follows_the_spacing() -> None:
    a, b = box((5, 5, 5), (0, 1), (0, 1), (0, 1)), box((5, 5, 5), (1, 2), (2, 3), (2, 3))
    assert medical.hd95(a, b) == pytest.approx(3)  # 1, 2, 2
    assert medical.hd95(a, b, (2, 1, 1)) == pytest.approx(12**0.5)
    assert medical.hd95(a, b, (6, 1, 1)) == pytest.approx(44**0.5)


def test_distance_of_two_lines_is_a_percentile() -> None:
    """From the long line 20 points reach the short one at once, one is 5 away: of 41 distances 40 are 0."""
    short, long = box((1, 30), (0, 1), (0, 20)), box((1, 30), (0, 1), (0, 20))
    long[0, 24] = True
    assert medical.hd95(short, long) == 0
    long[0, 21:25] = True  # now 2, 3, 4, 5 away, of 44
    assert medical.hd95(short, long) == pytest.approx(np.percentile([0] * 40 + [2, 3, 4, 5], 95))


def test_only_surfaces_count() -> None:
    """A hole inside a solid block is a surface 2 away from the block's own; the other way all is 0."""
    solid = box((9, 9, 9), (1, 8), (1, 8), (1, 8))
    hollow = solid & ~box((9, 9, 9), (4, 5), (4, 5), (4, 5))
    surface = 7**3 - 5**3
    assert medical.hd95(solid, hollow) == pytest.approx(np.percentile([0] * (2 * surface) + [2] * 6, 95))


def brute(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = np.ones_like(mask)
        for axis in range(mask.ndim):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[(slice(1, -1),) * mask.ndim]
        return np.argwhere(mask & ~inner) * np.array(spacing)

    distances = cdist(surface(a), surface(b))
    return float(np.percentile(np.concatenate([distances.min(axis=1), distances.min(axis=0)]), 95))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*[st.integers(1, 7)] * 3), share=st.floats(0.1, 0.95))
def test_any_two_masks_agree_with_all_pairs(seed: int, shape: tuple[int, ...], share: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(shape) < share, rng.random(shape) < share
    a.flat[rng.integers(a.size)] = b.flat[rng.integers(b.size)] = True
    spacing = tuple(rng.uniform(0.5, 5, 3))
    expected = brute(a, b, spacing)
    assert medical.hd95(a, b, spacing) == pytest.approx(expected)
    assert medical.hd95(b, a, spacing) == pytest.approx(expected)
    assert medical.hd95(a, b, [3 * step for step in spacing]) == pytest.approx(3 * expected)
    assert medical.hd95(np.pad(a, 2), np.pad(b, 2), spacing) == pytest.approx(expected)


def test_empty_masks_are_decided() -> None:
    empty, some = np.zeros((3, 4, 12), bool), box((3, 4, 12), (1, 2), (1, 2), (1, 2))
    assert np.isnan(medical.dice(empty, empty)) and np.isnan(medical.hd95(empty, empty))
    for a, b in ((some, empty), (empty, some)):
        assert medical.dice(a, b) == 0 and medical.hd95(a, b) == 13 and medical.hd95(a, b, (2, 1, 1)) == 196**0.5


def test_classes_of_a_volume_without_the_background() -> None:
    label = np.zeros((2, 4, 4), np.uint8)
    label[0, :2, :2], label[1, 2:, 2:] = 1, 2
    predicted = label.copy()
    predicted[1, 3, 3] = 0
    scores = medical.volume_scores(predicted, label, num_classes=4)
    assert scores[:, 0] == pytest.approx([1, 6 / 7, np.nan], nan_ok=True)
    assert scores[0, 1] == 0 and np.isnan(scores[2, 1])


# The data set


def folder(root: Path, suffix: str = ".npz") -> Path:
    """Three slices to train on and two volumes whose grey tells the organ: 0.1 for each."""
    rng = np.random.default_rng(0)
    (root / "train_npz").mkdir(parents=True)
    (root / "test_vol_h5").mkdir()
    for index in range(3):
        label = rng.integers(0, 9, (32, 40)).astype(np.float32)
        np.savez(root / "train_npz" / f"case0005_slice00{index}.npz", image=label / 10, label=label)
    for case, depth in (("case0001", 3), ("case0002", 2)):
        label = np.kron(rng.integers(0, 8, (depth, 4, 5)), np.ones((1, 8, 8))).astype(np.float32)
        arrays = {"image": label / 10, "label": label}
        if suffix == ".npz":
            np.savez(root / "test_vol_h5" / f"{case}.npz", **arrays)
        else:
            h5py = pytest.importorskip("h5py")
            with h5py.File(root / "test_vol_h5" / f"{case}{suffix}", "w") as file:
                for name, array in arrays.items():
                    file[name] = array
                file.attrs["spacing"] = [3.0, 0.5, 0.5]
    return root


class Reader(paddle.nn.Layer):
    """Reads the organ off the grey value; `shift` columns beside where it is."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        grey = paddle.roll(image[:, :1] * 10, self.shift, axis=3)
        return [-(grey - paddle.arange(9, dtype="float32").reshape([1, 9, 1, 1])).abs()]


PLAIN = [Normalize(mean=(0, 0, 0), std=(1, 1, 1))]


def test_slices_are_samples_in_both_modes(tmp_path: Path) -> None:
    train, val = (Synapse(mode, PLAIN, str(folder(tmp_path / mode))) for mode in ("train", "val"))
    assert (len(train), len(val)) == (3, 5) and [len(volume) for volume in val.volumes] == [3, 2]
    sample = train[1]
    assert sample["img"].shape == (3, 32, 40) and sample["label"].shape == (32, 40)
    assert sample["img"][0] == pytest.approx(sample["label"] / 10, abs=1e-6) and sample["label"].dtype == np.uint8
    assert val[4]["label"].shape == (1, 32, 40)
    assert np.array_equal(sample["img"][0], sample["img"][2])


def test_training_and_evaluation_resize_as_they_should(tmp_path: Path) -> None:
    transforms = [Resize((24, 16)), *PLAIN]
    train, val = (Synapse(mode, transforms, str(folder(tmp_path / mode))) for mode in ("train", "val"))
    assert train[0]["img"].shape == (3, 16, 24) and train[0]["label"].shape == (16, 24)
    assert val[0]["img"].shape == (3, 16, 24) and val[0]["label"].shape == (1, 32, 40)
    assert 0.5 < paddleseg.core.evaluate(Reader(), val, print_detail=False)[0] < 1


def test_lists_decide_the_files(tmp_path: Path) -> None:
    (folder(tmp_path) / "lists_Synapse").mkdir()
    (tmp_path / "lists_Synapse" / "test_vol.txt").write_text("case0002\n")
    assert [file.name for file in Synapse("val", PLAIN, str(tmp_path)).cases] == ["case0002.npz"]
    (tmp_path / "lists_Synapse" / "test_vol.txt").write_text("case0002\ncase0038\n")
    with pytest.raises(UserError, match=r"no .*case0038\.npy\.h5.*synapse\.org"):
        Synapse("val", PLAIN, str(tmp_path))


def test_a_reader_of_the_truth_is_perfect(tmp_path: Path, capsys) -> None:
    data = Synapse("val", PLAIN, str(folder(tmp_path)))
    data.class_names = class_table({"val_dataset": {"type": "Synapse"}}).names
    scores = paddleseg.core.evaluate(Reader(), data)
    assert scores[0] == 1 and scores.measure == "DSC" and scores.report.overall()["hd95"] == 0
    assert scores.report.cases == ("case0001", "case0002") and scores.report.organs[-1] == "stomach"
    said = capsys.readouterr().out
    assert "| stomach" in said and "---" in said and "2 volumes: DSC 1.0000, HD95 0.00" in said  # no grey is 0.8
    content = json.loads(json.dumps(scores.report.to_json()))
    assert content["cases"]["case0001"]["stomach"] == {"dsc": None, "hd95": None}
    assert content["organs"]["liver"] == {"dsc": 1.0, "hd95": 0.0}


def test_evaluation_is_that_of_whole_volumes_with_spacing(tmp_path: Path) -> None:
    data = Synapse("val", PLAIN, str(folder(tmp_path)), spacing=(4, 1, 2))
    report = paddleseg.core.evaluate(Reader(shift=2), data, print_detail=False).report
    for case, volume in enumerate(data.volumes):
        label = np.stack([data[index]["label"][0] for index in volume])
        expected = medical.volume_scores(np.roll(label, 2, axis=2), label, 9, (4, 1, 2))
        assert report.scores[case] == pytest.approx(expected, nan_ok=True)
    overall = report.overall()
    assert overall["dsc"] == pytest.approx(np.nanmean(np.nanmean(report.scores[:, :7, 0], axis=0)))
    assert overall["hd95"] > 0


def test_the_published_rule_is_transunets() -> None:
    label, predicted = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    label[0, 0], predicted[0, 0] = 1, 1  # found
    label[0, 1] = 2  # missed
    predicted[0, 2] = 3  # made up; 4 is in neither
    scores = medical.volume_scores(predicted, label, num_classes=5)
    report = medical.MedicalReport(
        scores[None], medical._published_rule(scores, predicted, label)[None], ("case",), ("a", "b", "c", "d")
    )
    assert report.published[0].tolist() == [[1, 0], [0, 0], [1, 0], [0, 0]]
    assert report.overall()["dsc"] == pytest.approx(1 / 3)
    assert report.overall()["dsc_published_rule"] == pytest.approx(2 / 4)
    assert report.overall()["hd95"] == pytest.approx(2 * 33**0.5 / 3) and report.overall()["hd95_published_rule"] == 0


def test_files_of_hdf5_and_their_spacing(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    data = Synapse("val", PLAIN, str(folder(tmp_path, ".npy.h5")))
    assert len(data) == 5 and data.spacing_of(0) == (3, 0.5, 0.5) and "2 checked" in str(check_labels(data))
    assert paddleseg.core.evaluate(Reader(), data, print_detail=False)[0] == 1


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    folder(tmp_path)
    (tmp_path / "test_vol_h5" / "case0003.npy.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'paddle_hrfamily\[medical\]'"):
        Synapse("val", PLAIN, str(tmp_path))


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5)), r"image of shape \(4, 4\) and a label of \(4, 5\)"),
        (np.full((4, 4), 150.0), np.zeros((4, 4)), r"150 to 150; clip CT numbers"),
        (np.zeros((4, 4)), np.full((4, 4), 11), "labels of 11 to 11; map the thirteen organs"),
        (None, np.zeros((4, 4)), "cannot be read"),
    ],
)
def test_files_are_looked_at_before_training(tmp_path: Path, image, label, message: str) -> None:
    data = Synapse("train", PLAIN, str(folder(tmp_path)))
    assert "3 checked, no errors" in str(check_labels(data))
    arrays = {"label": label} | ({} if image is None else {"image": image})
    np.savez(tmp_path / "train_npz" / "case0005_slice001.npz", **arrays)
    with pytest.raises(UserError, match=rf"slice001\.npz: .*{message}"):
        check_labels(data)


def test_volumes_with_their_slices_last_are_found(tmp_path: Path) -> None:
    volume = np.zeros((8, 8, 3))
    np.savez(folder(tmp_path) / "test_vol_h5" / "case0002.npz", image=volume, label=volume)
    with pytest.raises(UserError, match=r"slices along the last axis of \(8, 8, 3\)"):
        check_labels(Synapse("val", PLAIN, str(tmp_path)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "test"}, "no mode of Synapse 'test'"),
        ({"dataset_root": "/nowhere"}, "/nowhere/train_npz does not exist.*TransUNet"),
        ({"spacing": (1, 0, 1)}, "spacing is"),
        ({"edge": True}, "edge is true"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict, message: str) -> None:
    given = {"mode": "train", "transforms": PLAIN, "dataset_root": str(folder(tmp_path)), **arguments}
    with pytest.raises(UserError, match=message):
        Synapse(**given)
