"""`hrfamily ablate --folds`: every fold is trained and evaluated, and measures are averaged over them."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from paddle_hrfamily.__main__ import run_command
from paddle_hrfamily.ablation import runs, table
from paddle_hrfamily.ablation.suite import suite_of_folds
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import registration
from tests import tiny

registration.register()
CLASSES = {"sky": [1, 2, 3], "road": [4, 5, 6], "car": [7, 8, 9]}


def ablate(*arguments: object) -> int:
    flags = ("--device", "cpu", "--iters", 2, "--save_interval", 2)
    return run_command("ablate", [*map(str, arguments), *map(str, flags)], prog="hrfamily ablate")


@pytest.fixture
def folds(tmp_path: Path) -> list[Path]:
    """Configs of two folds of seven images; no label of the second one's validation has a car."""
    content = yaml.safe_load(tiny.config(tmp_path).read_text())
    del content["class_names"]
    data = tmp_path / "data"
    Image.fromarray(np.ones((40, 48), np.uint8)).save(data / "6.png")
    lines = (data / "list.txt").read_text().splitlines(keepends=True)
    files = []
    for number, val in enumerate((lines[:2], lines[6:])):
        for mode, chosen in (("train", [line for line in lines if line not in val]), ("val", val)):
            path = data / f"{mode}{number}.txt"
            path.write_text("".join(chosen))
            content[f"{mode}_dataset"][f"{mode}_path"] = str(path)
        files.append(tmp_path / f"shapes_fold{number}.yml")
        content["loss"]["types"] = [{"type": "CrossEntropyLoss", "weight": "auto"}]  # as `hrfamily new` may write
        files[-1].write_text(yaml.safe_dump({**content, "classes": CLASSES}, sort_keys=False))
    return files


def test_folds_are_run_and_averaged(
    folds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    started = []

    def in_process(self: runs.Children, log: Path, command: str, *arguments: object) -> None:
        started.append(command)
        assert run_command(command, [*map(str, arguments)], prog=f"hrfamily {command}") == 0

    monkeypatch.setattr(runs.Children, "run", in_process)
    assert ablate("--folds", *folds, "--save_dir", tmp_path / "out") == 0
    assert started == ["train", "val"] * 2
    results = [json.loads((tmp_path / f"out/shapes/{f.stem}/seed_0/result.json").read_text()) for f in folds]
    assert [result["images"] for result in results] == [2, 1]
    mious = [result["miou"] for result in results]
    found = json.loads((tmp_path / "out/shapes/table.json").read_text())["folds"]
    assert found["miou"] == {"mean": statistics.fmean(mious), "deviation": statistics.stdev(mious), "folds": 2}
    assert found["IoU car, %"] == {"mean": results[0]["class_iou"]["car"], "deviation": 0.0, "folds": 1}
    out = capsys.readouterr().out
    assert f"| mIoU, % | {100 * statistics.fmean(mious):.2f} ± {100 * statistics.stdev(mious):.2f} | 2 |" in out
    assert "| shapes_fold1 | 1." in out
    assert ablate("--folds", *folds, "--save_dir", tmp_path / "out") == 0  # all is done: nothing is run again
    assert started == ["train", "val"] * 2


def test_a_fold_counts_as_the_mean_of_its_seeds() -> None:
    def result(seed: int, value: float, iou: float | None) -> dict[str, object]:
        return {"seed": seed, **dict.fromkeys(table._OF_FOLDS, value), "class_iou": {"a": iou}}

    lines = [
        table.Line("f0", None, 1, [result(0, 0.2, 0.5), result(1, 0.4, 0.7)]),
        table.Line("f1", None, 1, [result(0, 0.6, None)]),
        table.Line("f2", None, 1, []),
    ]
    found = table.over_folds(lines)
    assert found["miou"] == {"mean": pytest.approx(0.45), "deviation": pytest.approx(0.2121320), "folds": 2}
    assert found["IoU a, %"] == {"mean": pytest.approx(0.6), "deviation": 0.0, "folds": 1}
    assert table.over_folds([]) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a suite, or the configs of folds"),
        (["ddrnet_context", "--folds", "A", "B"], "give a suite, or the configs of folds"),
        (["--folds", "A"], "give two configs or more"),
        (["--folds", "A", "A"], "each with a name of its own"),
        (["--folds", "A", "gone.yml"], "gone.yml does not exist"),
        (["--folds", "A", "OTHER"], "its classes are others than those of"),
        (["--folds", "A", "B", "--config", "A"], "folds are configs themselves"),
    ],
)
def test_folds_that_are_none(
    folds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], says: str
) -> None:
    content = yaml.safe_load(folds[0].read_text())
    other = tmp_path / "other.yml"
    for section in ("model", "train_dataset", "val_dataset"):
        content[section]["num_classes"] = 4
    other.write_text(yaml.safe_dump({**content, "classes": {**CLASSES, "bus": [0, 0, 0]}}, sort_keys=False))
    names = {"A": folds[0], "B": folds[1], "OTHER": other}
    assert ablate(*(names.get(argument, argument) for argument in arguments)) == 2
    assert says in capsys.readouterr().err


def test_names_of_folds(folds: list[Path], tmp_path: Path) -> None:
    assert suite_of_folds([*map(str, folds)]).name == "shapes"
    renamed = folds[1].rename(tmp_path / "b.yml")
    suite = suite_of_folds([str(folds[0]), str(renamed)])
    assert suite.name == "folds" and [row.name for row in suite.rows] == ["shapes_fold0", "b"]
    with pytest.raises(UserError, match="does not exist"):
        suite_of_folds(["x_fold0.yml", "x_fold1.yml"])
