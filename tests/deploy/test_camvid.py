"""The figures of camvid.py are those that a pencil gives, and its table stands on real label maps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line
from tests.deploy import camvid
from tests.deploy.conftest import CLASSES, Describe

SIZE = (64, 96)


def test_a_score_by_hand() -> None:
    truth = np.array([[0, 0, 1, 255], [1, 2, 2, 2]], np.uint8)
    label = np.array([[0, 1, 1, 1], [1, 2, 2, 0]], np.uint8)
    found = camvid.score([label], [truth], [truth], classes=3)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 2]]
    assert found.miou == pytest.approx(100 * (1 / 3 + 2 / 3 + 2 / 3) / 3)
    assert found.accuracy == pytest.approx(100 * 5 / 7) and found.equal == 5 / 8
    assert camvid.score([label], [truth], [truth], classes=4).miou == pytest.approx(found.miou * 3 / 4)  # none has it


def test_the_table(describe: Describe, photo, tmp_path, capsys) -> None:
    """The truth is what the network says, but for void pixels and one wrong class in a corner."""
    folder, data = describe("none"), tmp_path / "data"
    data.mkdir()
    shares = []
    for number in range(3):
        image = photo(*SIZE, number)
        Image.fromarray(image).save(data / f"{number}.png")
        truth = Predictor(folder, "cpu").predict(image)[0]
        truth[:8] = 255
        truth[-8:, -8:] = (truth[-8:, -8:] + 1) % len(CLASSES)
        shares.append((truth != 255).sum())
        Image.fromarray(truth).save(data / f"{number}_label.png")
    lines = [f"{number}.png {number}_label.png" for number in range(3)]
    (data / "val.txt").write_text("\n".join(lines))
    assert camvid.main([str(folder), ",name=again", "--data", str(data), "--threads", "1"]) == 0
    (first, second) = capsys.readouterr().out.splitlines()[-2:]
    accuracy = 100 * (1 - 3 * 64 / sum(shares))
    assert "| paddle | fp32 |" in first and f"| +0.00 | {accuracy:.2f} | 100.0000% |" in first
    assert second.startswith("| again |") and second.split("|")[4:] == first.split("|")[4:]


def test_frames_are_taken_evenly(tmp_path) -> None:
    (tmp_path / "val.txt").write_text("".join(f"{n}.jpg {n}.png\n" for n in range(7)))
    taken = camvid.pairs(tmp_path, "val", 3)
    assert taken == [(tmp_path / f"{n}.jpg", tmp_path / f"{n}.png") for n in (0, 2, 4)]
    assert len(camvid.pairs(tmp_path, "val")) == 7
    with pytest.raises(UserError, match="0 frames"):
        camvid.pairs(tmp_path, "val", 0)


def test_what_is_missing_is_one_line(tmp_path, capsys) -> None:
    (tmp_path / "val.txt").write_text("alone.jpg\n")
    for split, words in (("val", "each line must be 'image label'"), ("none", "none.txt does not exist")):
        status = command_line.run(lambda: camvid.main(["somewhere", "--data", str(tmp_path), "--split", split]))  # noqa: B023
        said = capsys.readouterr().err
        assert status == 2 and words in said and said.count("\n") == 1
