"""The numbers of an evaluation against their definitions, and against what PaddleSeg itself returns."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from paddleseg import core
from paddleseg.datasets import Dataset
from paddleseg.transforms import Normalize
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, confusion_matrix, jaccard_score

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation import protocols, segmentation
from paddle_hrfamily.evaluation.scores import Scores
from paddle_hrfamily.inference.options import EvaluationOptions, InferenceOptions
from paddle_hrfamily.integration import repairs
from paddle_hrfamily.integration.registration import register
from paddle_hrfamily.patching import core_module
from tests import tiny

pytestmark = pytest.mark.line

register()
C = len(tiny.CLASSES)


class Threshold(paddle.nn.Layer):
    """Classes by brightness: fixed, and not always right."""

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        level = image.mean(axis=1, keepdim=True)
        return [paddle.concat([-((level - center) ** 2) for center in (-0.9, -0.3, 0.2)], axis=1)]


def data(folder, **changes: object) -> Dataset:
    path = tiny.dataset(folder)
    options = {"num_classes": C, "mode": "val", "val_path": str(path), **changes}
    return Dataset(dataset_root=str(folder), transforms=[Normalize()], **options)


def truth_and_prediction(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = [], []
    for index in range(len(dataset)):
        sample = dataset[index]
        logits = Threshold()(paddle.to_tensor(sample["img"][None]))[0]
        labels.append(sample["label"].ravel())
        predictions.append(logits.argmax(axis=1).numpy().ravel())
    return np.concatenate(labels), np.concatenate(predictions)


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    dataset = data(tmp_path_factory.mktemp("data"))
    return dataset, core.evaluate(Threshold(), dataset, print_detail=False)


def test_every_measure_is_what_scikit_learn_says(scores):
    dataset, found = scores
    label, pred = truth_and_prediction(dataset)
    label, pred = label[label != 255], pred[label != 255]
    report, classes = found.report, found.report.per_class()
    np.testing.assert_array_equal(report.confusion, confusion_matrix(label, pred, labels=range(C)))
    np.testing.assert_allclose(classes["iou"], jaccard_score(label, pred, average=None, labels=range(C)), rtol=1e-12)
    np.testing.assert_allclose(classes["share"], np.bincount(label, minlength=C) / len(label))
    np.testing.assert_allclose(report.overall()["kappa"], cohen_kappa_score(label, pred), rtol=1e-9)
    np.testing.assert_allclose(report.overall()["pixel_accuracy"], (label == pred).mean())
    np.testing.assert_allclose(report.overall()["mean_accuracy"], balanced_accuracy_score(label, pred))
    assert 0.2 < report.overall()["miou"] < 1


def test_it_agrees_with_what_paddleseg_returns(scores):
    _, (miou, accuracy, class_iou, class_precision, kappa) = scores
    report = scores[1].report
    overall, classes = report.overall(), report.per_class()
    np.testing.assert_allclose([overall["miou"], overall["pixel_accuracy"], overall["kappa"]], [miou, accuracy, kappa])
    np.testing.assert_allclose(classes["iou"], class_iou)
    np.testing.assert_allclose(classes["precision"], class_precision)


def test_the_table_has_names_and_is_printed_unless_asked_not_to(tmp_path, capsys):
    dataset = data(tmp_path)
    dataset.class_names = tiny.CLASSES
    core.evaluate(Threshold(), dataset, print_detail=False)
    assert "sky" not in capsys.readouterr().out
    found = core.evaluate(Threshold(), dataset)
    printed = capsys.readouterr().out
    road = next(line for line in printed.splitlines() if "road" in line)
    assert f"{found.report.per_class()['iou'][1]:.4f}" in road
    assert f"mIoU {found[0]:.4f}" in printed
    assert f"mean accuracy {found.report.overall()['mean_accuracy']:.4f}" in printed
    assert "scale 1, no flip" in printed.splitlines()


def test_a_class_in_no_label_is_marked_and_left_out_of_the_second_mean(tmp_path):
    dataset = data(tmp_path, num_classes=C + 1)
    dataset.class_names = (*tiny.CLASSES, "boat")
    report = core.evaluate(Threshold(), dataset, print_detail=False).report
    overall = report.overall()
    np.testing.assert_allclose(overall["miou_present"] * C, overall["miou"] * (C + 1))
    assert "No label has boat" in report.table()
    assert next(line for line in report.table().splitlines() if "| boat" in line).count("-") >= 3


def test_json_can_be_read_back_and_undefined_is_null(tmp_path):
    counts = np.zeros((4, 3), "int64")
    counts[0, 0] = 9  # one class in the labels, all right: kappa is 0 / 0
    report = segmentation.SegmentationReport(counts, ("a", "b"), 255, 1)
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["kappa"] is None
    assert content["confusion_rows_are_labels"] == [[9, 0], [0, 0]]
    assert [entry["name"] for entry in content["classes"]] == ["a", "b"]
    assert content["classes"][0]["iou"] == 1


def test_flips_scales_and_windows_go_through_it(tmp_path):
    dataset = data(tmp_path)
    plain = core.evaluate(Threshold(), dataset, print_detail=False)
    flipped = core.evaluate(Threshold(), dataset, aug_eval=True, scales=[1.0], flip_horizontal=True, print_detail=False)
    windows = core.evaluate(
        Threshold(), dataset, is_slide=True, crop_size=[32, 24], stride=[16, 16], print_detail=False
    )
    for found in (flipped, windows):  # the classifier looks at single pixels, so neither may change anything
        np.testing.assert_array_equal(found.report.confusion, plain.report.confusion)


def test_training_evaluates_through_it_and_repeating_changes_nothing():
    evaluate = core.evaluate
    protocols.install()
    repairs.apply()
    assert core.evaluate is core_module("train").evaluate is core_module("val").evaluate is evaluate


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_measures_see_every_image_once_however_many_processes_there_are(tmp_path, monkeypatch, ranks):
    class Seen:
        def __init__(self):
            self.images = []

        def add(self, index, predicted, label):
            self.images.append((index, int(label[0, 5]), predicted.shape))

    dataset, images = data(tmp_path), []
    for rank in range(ranks):
        environment = type("Environment", (), {"nranks": ranks, "rank": rank})
        monkeypatch.setattr(paddle.distributed, "ParallelEnv", environment)
        seen = Seen()
        counter = protocols._Counter(dataset, [seen])
        sampler = paddle.io.DistributedBatchSampler(dataset, 1, num_replicas=ranks, rank=rank, shuffle=False)
        for (index,) in sampler:  # which repeats images until each process has as many
            label = paddle.full([1, 1, 4, 6], index, "int64")
            counter.calculate_area(label, label, C)
        images += seen.images
    assert sorted(images) == [(index, index, (4, 6)) for index in range(len(dataset))]


# Data sets with measures of their own


def test_a_data_set_is_evaluated_by_its_task(tmp_path, monkeypatch):
    seen = {}

    def judged(model, dataset, options):
        seen.update(model=model, dataset=dataset, options=options)
        return Scores((0.25, 0.5, [], [], 0.0))

    monkeypatch.setitem(protocols.PROTOCOLS, "depth", judged)
    dataset, model = data(tmp_path), Threshold()
    dataset.task = "depth"
    found = core.evaluate(model, dataset, aug_eval=True, scales=[0.5, 1], num_workers=2, print_detail=False)
    assert found[0] == 0.25
    options = EvaluationOptions(InferenceOptions(aug_pred=True, scales=(0.5, 1.0)), num_workers=2, print_detail=False)
    assert seen == {"model": model, "dataset": dataset, "options": options}


def test_a_third_party_data_set_may_evaluate_itself(tmp_path):
    class Own(Dataset):
        task = "depth"  # which its method comes before

        def evaluate(self, model, options):
            return Scores((0.75, options.inference.scales, [], [], 0.0))

    path = tiny.dataset(tmp_path)
    dataset = Own(dataset_root=str(tmp_path), transforms=[], num_classes=C, mode="val", val_path=str(path))
    assert core.evaluate(Threshold(), dataset, print_detail=False)[:2] == (0.75, (1.0,))


def test_a_task_that_nobody_knows_is_an_error(tmp_path):
    dataset = data(tmp_path)
    assert protocols.protocol_of(dataset) is None
    dataset.task = "dept"
    with pytest.raises(UserError, match="no task of Dataset 'dept'; did you mean depth"):
        core.evaluate(Threshold(), dataset)


def test_the_tasks_of_our_data_sets_are_known():
    from paddleseg.cvlibs import manager

    tasks = {getattr(dataset, "task", "segmentation") for dataset in manager.DATASETS.components_dict.values()}
    assert tasks == {"segmentation", *protocols.PROTOCOLS}
