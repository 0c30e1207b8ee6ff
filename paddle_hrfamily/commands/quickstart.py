"""See everything once: draw street scenes, train on them, evaluate, predict, export. Takes a few minutes on a CPU.

    hrfamily quickstart
    hrfamily quickstart --save_dir elsewhere --seed 7

Needs no download and no GPU. What it runs are `hrfamily train`, `val` and `export` on configs/quickstart.yml.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

CONFIG = "quickstart.yml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--save_dir", type=Path, default=Path("quickstart"), help="default: ./quickstart")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of images (default: 0)")
    parser.add_argument("--pictures", type=int, default=8, help="images of image | truth | prediction (default: 8)")
    parser.add_argument("--iters", type=int, help="train for another number of iterations than the config's")
    parser.add_argument("--device", default="gpu", help="gpu falls back to cpu (default: gpu)")


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, draw, export; then say where everything is."""
    folder: Path = args.save_dir
    weights = str(folder / "best_model" / "model.pdparams")
    scores = folder / "scores.json"
    exported = folder / "inference_model"
    train = ["--save_dir", str(folder), "--do_eval", "--use_vdl", "--seed", str(args.seed), "--device", args.device]
    if args.iters:
        train += ["--iters", str(args.iters)]
    for command, rest in (
        ("train", train),
        ("val", ["--model_path", weights, "--json", str(scores), "--device", args.device]),
        ("export", ["--model_path", weights, "--save_dir", str(exported)]),
    ):
        status = _run(command, rest)
        if status:
            return status
    pictures = draw_panels(weights, folder / "pictures", args.pictures)
    miou = json.loads(scores.read_text())["miou"]
    print(f"\nvalidation mIoU {miou:.4f}; everything is in {folder.resolve()}:")
    for what, place in (
        ("image | truth | prediction", pictures),
        ("training log", f"visualdl --logdir {folder}"),
        ("scores of every class", scores),
        ("trained weights", weights),
        ("exported model", exported),
    ):
        print(f"  {what:<28}{place}")
    return 0


def _run(command: str, rest: list[str]) -> int:
    from paddle_hrfamily.commands import run_command

    print(f"\n$ hrfamily {command} --config {CONFIG} {' '.join(rest)}", flush=True)
    return run_command(command, ["--config", CONFIG, *rest], prog=f"hrfamily {command}")


def draw_panels(weights: str, folder: Path, count: int) -> Path:
    """Write image | truth | prediction of the first `count` validation scenes as PNG into `folder`."""
    from hrfamily_deploy.imaging import image_files
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.inference.options import InferenceOptions
    from paddle_hrfamily.inference.prediction import label_predictor
    from paddle_hrfamily.integration import config_file, model_loading
    from paddle_hrfamily.visualization import drawing

    config = config_file.load(CONFIG)
    builder, model = model_loading.network(config, weights)
    predict = label_predictor(model, builder, config_file.in_channels(config), InferenceOptions())
    table = class_table(config.dic)
    dataset = builder.val_dataset
    for index, (path, _) in enumerate(dataset.file_list[:count]):
        image, truth = image_files.decode(Path(path)), dataset[index]["label"][0]  # (H, W, 3), (H, W)
        image_files.write(
            folder / f"{Path(path).stem}.png", drawing.panel(image, truth, {"prediction": predict(image)}, table)
        )
    return folder
