"""Every known bad combination is found and gets its fix; a sound installation gets none."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from paddle_hrfamily.commands import doctor
from paddle_hrfamily.doctor import diagnosis, installation
from paddle_hrfamily.doctor.installation import Facts
from paddle_hrfamily.integration.repairs import TABLE

SOUND = Facts(
    python=(3, 11, 7),
    versions={"paddlepaddle": "3.3.1", "paddleseg": "2.8.0", "numpy": "1.26.4", "opencv-python": "4.5.5.64"},
    probed={"paddle": {"cuda": None, "gpus": []}, "paddleseg": {"file": "x", "train": "y"}},
    shared_memory=2**33,
)
HOPPER = [{"name": "NVIDIA H100", "capability": "9.0"}]
OLD_GPU = {"paddlepaddle": None, "paddlepaddle-gpu": "2.6.2"}


def facts(versions: dict[str, str | None] | None = None, **changes: object) -> Facts:
    return replace(SOUND, versions={**SOUND.versions, **(versions or {})}, **changes)


def test_a_sound_installation() -> None:
    assert diagnosis.diagnose(facts({"paddlepaddle": "2.6.2"})) == []
    assert {finding.level for finding in diagnosis.diagnose(SOUND)} == {"note"}  # of .json models, for 3.3.1


@pytest.mark.parametrize(
    ("found", "level", "what", "fix"),
    [
        (facts(python=(3, 13, 0)), "broken", "Python 3.13.0", "3.9 to 3.12"),
        (facts({"paddlepaddle": None}, probed={}), "broken", "not installed", r"paddle_hrfamily\[cpu\]"),
        (facts({"paddlepaddle-gpu": "2.6.2"}), "broken", "both installed", "uninstall"),
        (facts({"paddlepaddle": "3.1.0"}), "warning", "3.1.0 is untested", "2.6.2 or 3.3.1"),
        (facts({"paddleseg": "2.5.0"}), "broken", "paddleseg is 2.5.0", "paddleseg==2.8.0"),
        (facts({"paddleseg": None}), "broken", "paddleseg is not installed", "paddleseg==2.8.0"),
        (facts(probed={"paddleseg": {"file": None, "train": "y"}}), "broken", "__init__.py", "force-reinstall"),
        (facts({"numpy": "2.4.6"}), "broken", r"numpy 2\.4\.6 with opencv 4\.5\.5\.64", "numpy<2"),
        (
            facts({"numpy": "2.0.0", "opencv-python": "4.12.0.88", "paddlepaddle": "2.6.2"}),
            "broken",
            r"numpy 2\.0\.0 with paddle 2\.6\.2",
            "numpy<2",
        ),
        (facts(conflicts=["pandas 3.1.1 wants numpy>=2, and 1.26.4 is installed"]), "warning", "pandas", "reinstall"),
        (facts({"paddleslim": "2.6.0"}), "warning", "paddleslim", "of its own"),
        (facts({"opencv-python-headless": "4.5.5.64"}), "warning", "headless", "uninstall"),
        (facts(failed_step="opencv", failure=["ImportError: libGL.so.1"]), "broken", "opencv fails", "libgl1"),
        (facts(failed_step="paddle", failure=["killed by SIGSEGV"]), "broken", "SIGSEGV", "fresh environment"),
        (facts(hooked=False), "warning", "not installed by pip", "python -m paddle_hrfamily train"),
        (facts(hooked=False, disabled=True), "warning", "PADDLE_HRFAMILY_DISABLE", "unset"),
        (facts(probed={"paddleseg": {"file": "x", "train": None}}), "broken", "no module train", "-W always"),
        (facts({"paddlepaddle": "2.6.2"}, hooked=False), "warning", "zlib", "import zlib"),
        (facts(gpus=HOPPER), "note", "H100 is idle", "paddlepaddle.org.cn"),
        (facts(OLD_GPU), "warning", "sees no GPU", "nvidia-smi"),
        (facts(OLD_GPU, gpus=HOPPER), "broken", "no machine code for NVIDIA H100", "CUDA 12"),
        (facts(), "note", "3.3.1 cannot run exported .json", r"\.pdmodel"),
        (facts(shared_memory=2**26), "warning", "64 MiB", "shm-size"),
    ],
)
def test_each_bad_combination_has_its_fix(found: Facts, level: str, what: str, fix: str) -> None:
    matching = [f for f in diagnosis.diagnose(found) if re.search(what, f.what)]
    assert [finding.level for finding in matching] == [level]
    assert re.search(fix, matching[0].fix)


def test_the_worst_comes_first() -> None:
    levels = [f.level for f in diagnosis.diagnose(facts({"numpy": "2.4.6"}, hooked=False))]
    assert levels == ["broken", "warning", "note"]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("RuntimeError: module compiled against ABI version 0x1000009", "numpy<2"),
        ("ImportError: numpy.core.multiarray failed to import", "numpy<2"),
        ("ValueError: numpy.dtype size changed, may indicate binary incompatibility", "numpy<2"),
        ("ImportError: libgomp.so.1: cannot open shared object file", "libgomp1"),
        ("TypeError: Descriptors cannot be created directly.", "protobuf<3.21"),
        ("error while loading shared libraries: libcudnn.so.8", "CUDA"),
        ("zlib.error: Error -2 while preparing to decompress data", "import zlib"),
    ],
)
def test_symptoms_are_recognised_wherever_they_stand(words: str, fix: str) -> None:
    found = facts(failed_step="paddle", failure=["SystemError: initialization failed", words])
    assert fix in diagnosis.diagnose(found)[0].fix


def probe(tmp_path: Path, code: str) -> tuple[dict, str | None, list[str]]:
    """The outcome of a probe whose second step is this code."""
    script = tmp_path / "probe.py"
    script.write_text(
        "import json, os, signal, sys\n"
        'print(json.dumps(["first", None])); print(json.dumps(["first", {"answer": 1}]))\n'
        f'print(json.dumps(["second", None]), flush=True)\n{code}\n'
    )
    return installation.probe(script)


def test_a_crash_is_reported_and_not_suffered(tmp_path: Path) -> None:
    answers, step, failure = probe(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
    assert (answers, step, failure[0]) == ({"first": {"answer": 1}}, "second", "killed by SIGSEGV")


def test_a_failed_import_is_reported_with_its_words(tmp_path: Path) -> None:
    _, step, failure = probe(tmp_path, "print('noise [1, 2]')\nprint('said', file=sys.stderr)\nimport no_such_module")
    assert step == "second"
    assert failure[0] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "said" in failure


def test_a_probe_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "PROBE_SECONDS", 1)
    assert "no answer" in probe(tmp_path, "import time; time.sleep(60)")[2][0]


def command(monkeypatch: pytest.MonkeyPatch, found: Facts, as_json: bool) -> int:
    monkeypatch.setattr(installation, "gather", lambda: found)
    return doctor.run(argparse.Namespace(json=as_json))


def test_status_and_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, SOUND, as_json=False) == 0
    assert "sound" in capsys.readouterr().out
    assert command(monkeypatch, facts({"numpy": "2.4.6"}), as_json=False) == 1
    said = capsys.readouterr().out
    assert "BROKEN: numpy 2.4.6" in said
    assert "fix: pip install 'numpy<2'" in said


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, facts({"numpy": "2.4.6"}, gpus=HOPPER), as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False
    assert report["versions"]["numpy"] == "2.4.6"
    assert report["devices"]["gpus"] == HOPPER
    assert {"level", "what", "fix"} == set(report["findings"][0])


def test_extras_are_told_with_what_they_lack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = facts(extras={"serve": [], "int8": ["openvino", "nncf"]})
    assert command(monkeypatch, found, as_json=False) == 0
    said = capsys.readouterr().out
    assert re.search(r"(?m)^  serve +installed$", said)
    assert re.search(r"(?m)^  int8 +without openvino, nncf: pip install 'paddle_hrfamily\[int8\]'$", said)


NEEDS = [
    "numpy",
    'onnx>=1.16.1,<1.18; extra == "onnx"',
    'onnxruntime>=1.17; extra == "onnx"',
    'shtab>=1.6; extra == "completion"',
    'pytest; extra == "test"',
]


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation with another onnx than wanted, and without shtab."""
    installed = {"paddle_hrfamily": "0.1.0", "numpy": "1.26.4", "onnx": "1.18.0", "onnxruntime": "1.20"}
    message = Message()
    for extra in ("onnx", "completion", "test", "all"):
        message["Provides-Extra"] = extra
    monkeypatch.setattr(installation.metadata, "metadata", lambda name: message)
    monkeypatch.setattr(installation.metadata, "requires", lambda name: NEEDS if name == "paddle_hrfamily" else [])
    monkeypatch.setattr(installation, "_version", installed.get)


@pytest.mark.usefixtures("packaged")
def test_what_an_extra_lacks_comes_from_the_package() -> None:
    assert installation.extras() == {"onnx": [], "completion": ["shtab"]}


@pytest.mark.usefixtures("packaged")
def test_what_extras_want_in_another_version_is_a_conflict() -> None:
    (conflict,) = installation._conflicts(["paddle_hrfamily", "numpy"])
    assert re.fullmatch(r"paddle_hrfamily 0.1.0 wants onnx<1.18,>=1.16.1, and 1.18.0 is installed", conflict)


def test_without_pip_nothing_is_said_of_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "PACKAGE", "no_such_distribution")
    assert installation.extras() == {}


def test_what_is_changed_in_paddleseg_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, SOUND, as_json=False) == 0
    said = capsys.readouterr().out
    assert all(f": {repair.why}" in said for repair in TABLE)
    assert command(monkeypatch, SOUND, as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["until"] for row in report["repairs"]] == [repair.until for repair in TABLE]


def test_this_installation_is_looked_at_for_real() -> None:
    pytest.importorskip("paddleseg")
    found = installation.gather()
    assert [finding for finding in diagnosis.diagnose(found) if finding.level == "broken"] == []
    assert found.failed_step is None, found.failure
    assert found.probed["computation"]["sum"] == 36.0  # nine ones, at four places
    assert found.probed["paddleseg"]["file"]
    assert found.versions["paddleseg"] == "2.8.0"
    assert found.conflicts == []
