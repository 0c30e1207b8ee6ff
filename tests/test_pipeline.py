"""The main job as a user does it: PaddleSeg's own module names, another folder, real street frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
pytestmark = pytest.mark.line


@pytest.fixture(scope="module")
def workplace(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config that shortens the Cityscapes recipe: small crops, few steps, weights as initialised."""
    try:
        distribution("paddle_hrfamily")
    except PackageNotFoundError:
        pytest.skip("needs the package installed (pip install -e .), for `python -m paddleseg.train` comes with that")
    folder = tmp_path_factory.mktemp("work")
    base = yaml.safe_load((CONFIGS / "_base_" / "cityscapes.yml").read_text())
    crop = next(item for item in base["train_dataset"]["transforms"] if item["type"] == "RandomPaddingCrop")
    crop["crop_size"] = [256, 128]
    root = {"dataset_root": str(shared / "data" / "cityscapes")}
    short = {
        "_base_": str(CONFIGS / "hrnet_w18_small_v1_cityscapes.yml"),
        "batch_size": 2,
        "iters": 6,
        "train_dataset": {**root, "transforms": base["train_dataset"]["transforms"]},
        "val_dataset": root,
        "model": {"backbone": {"pretrained": None}},
    }
    (folder / "short.yml").write_text(yaml.safe_dump(short))
    return folder


def run(folder: Path, module: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", f"paddleseg.{module}", "--config", "short.yml", "--device", "cpu", *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def trained(workplace: Path) -> Path:
    output = run(
        workplace, "train", "--do_eval", "--use_vdl", "--save_interval", "6", "--log_iters", "2", "--seed", "1"
    )
    assert "iter: 6/6" in output
    return workplace / "output" / "best_model" / "model.pdparams"


def test_training_leaves_checkpoints_and_a_log(trained: Path) -> None:
    output = trained.parent.parent
    assert {"model.pdparams", "model.pdopt"} <= {file.name for file in (output / "iter_6").iterdir()}
    assert list(output.glob("vdlrecords.*.log"))


def test_evaluation_writes_every_class(workplace: Path, trained: Path) -> None:
    output = run(workplace, "val", "--model_path", str(trained), "--json", "scores.json")
    scores = json.loads((workplace / "scores.json").read_text())
    assert "bicycle" in output
    assert [entry["name"] for entry in scores["classes"]][:3] == ["road", "sidewalk", "building"]
    assert scores["images"] == 2
    assert 0 <= scores["miou"] <= scores["pixel_accuracy"] <= 1


def test_prediction_and_exported_graph_agree(workplace: Path, trained: Path, shared: Path) -> None:
    frame = next((shared / "data" / "cityscapes" / "leftImg8bit" / "val").rglob("*.png"))
    run(workplace, "predict", "--model_path", str(trained), "--image_path", str(frame), "--save_dir", "predicted")
    predicted = cv2.imread(str(next((workplace / "predicted" / "label").rglob("*.png"))), cv2.IMREAD_UNCHANGED)
    exported = subprocess.run(
        [sys.executable, "-m", "paddleseg.export", "--config", "short.yml", "--model_path", str(trained)],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert exported.returncode == 0, exported.stderr[-4000:]

    from paddle import inference
    from paddleseg.deploy.infer import DeployConfig

    folder = workplace / "output" / "inference_model"
    deploy = DeployConfig(str(folder / "deploy.yaml"))
    config = inference.Config(deploy.model, deploy.params)
    config.disable_glog_info()
    image = deploy.transforms({"img": str(frame)})["img"][None]
    predictor = inference.create_predictor(config)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.copy_from_cpu(np.ascontiguousarray(image))
    predictor.run()
    labels = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()[0]
    assert labels.shape == predicted.shape == (1024, 2048)
    assert (labels == predicted).mean() > 0.999
