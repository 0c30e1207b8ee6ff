"""Export a trained network as a static graph, then run what was written and compare.

    hrfamily export --model_path output/best_model --save_dir output/exported
    hrfamily export --model_path … --input_shape 1 3 512 1024 --output_op softmax
    hrfamily export --model_path … --input_shape 1 3 512 1024 --fast

Writes model.pdmodel, model.pdiparams and deploy.yaml (transforms, shape, output, class names and colours), which
PaddleSeg's own deploy scripts read, and config.yml, the whole config; with --fast it is the form that runs fastest,
which `hrfamily infer` and `serve` read. Weights that hold no config, such as published ones, need --config.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from paddle import nn
    from paddleseg.cvlibs import Config

    from paddle_hrfamily.data.classes import ClassTable

OUTPUTS = ("argmax", "softmax", "none", "logits")  # "none" is PaddleSeg's word for logits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_weights(flags.add_config(parser))
    add = parser.add_argument_group("graph").add_argument
    add(
        "--input_shape",
        type=int,
        nargs="+",
        metavar="N",
        help="fixed shape, as 1 3 512 1024; -1 leaves an extent open (default: batch, height and width open)",
    )
    add(
        "--output_op",
        choices=OUTPUTS,
        help="what the graph ends in: int32 labels (default), probabilities, or logits, also called none; of a network "
        "of depth, metres (none) alone",
    )
    add(
        "--fast",
        action="store_true",
        help="images of 0..255 in, normalised in the graph, logits at the network's own stride out, and the exact "
        "rewrite of its head that runs fastest; hrfamily_deploy makes the same label map of them. With --output_op "
        "argmax it ends in labels of one byte, for GPUs (default: off)",
    )
    text = "that divides logits for probabilities, as val --calibration finds it (default: %(default)s)"
    add("--temperature", type=float, default=1.0, help=text)
    add = parser.add_argument_group("output").add_argument
    add("--save_dir", default="./output/inference_model", help="folder to write (default: %(default)s)")
    add("--for_fd", action="store_true", help="name the files inference.* as FastDeploy expects")


def run(args: argparse.Namespace) -> None:
    """Export, compare, and only then put the files in place."""
    _check_fast(args)
    flags.check_temperature(args.temperature)
    flags.register(args)
    from paddle_hrfamily.checkpointing import snapshot
    from paddle_hrfamily.data.classes import class_table
    from paddle_hrfamily.export import static_graph
    from paddle_hrfamily.integration import config_file, held_config, model_loading

    config = flags.read_config(args)
    held = held_config.described(config)
    _, model = model_loading.network(config, model_loading.weights_file(args.model_path, config))
    of_depth = model_loading.is_of_depth(model)
    shape = _input_shape(args.input_shape, config_file.in_channels(config))
    output = _output("none" if args.fast and args.output_op is None else args.output_op, of_depth)
    stem, description = ("inference", "inference.yml") if args.for_fd else ("model", "deploy.yaml")

    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / stem
        deploy = _deploy_description(config, stem, shape, output, class_table(config.dic))
        if args.temperature != 1:
            deploy["Deploy"]["temperature"] = args.temperature
        if args.fast:
            compared = _save_fast(model, shape, deploy["Deploy"], prefix)
        else:
            compared = static_graph.save(model, shape, output, prefix)
        (Path(folder) / description).write_text(yaml.safe_dump(deploy, sort_keys=False, allow_unicode=True))
        snapshot.write_config(Path(folder), held)
        _install(Path(folder), Path(args.save_dir))
    meaning = "metres" if of_depth else "logits"
    classes = len(deploy["Deploy"]["class_names"])
    fast = args.fast and _fast_signature(shape, deploy["Deploy"], meaning)
    for line in fast or _signature(shape, output, classes, meaning):
        print(line)
    print(f"the written graph computes what the network does, compared at {' and '.join(compared)}")
    print(f"{stem}.pdmodel, {stem}.pdiparams and {description} are in {args.save_dir}")


def _output(asked: str | None, of_depth: bool) -> str:
    output = asked or ("none" if of_depth else "argmax")
    output = "none" if output == "logits" else output
    if of_depth and output != "none":
        raise UserError(f"--output_op {asked}: this network's output is metres, without classes; leave it out")
    return output


def _check_fast(args: argparse.Namespace) -> None:
    if args.fast and args.output_op == "softmax":
        raise UserError("--output_op softmax: --fast ends in logits, of which hrfamily_deploy makes all; leave it out")
    if args.fast and args.for_fd:
        raise UserError("--for_fd: FastDeploy does not read what --fast writes; leave one out")


def _save_fast(model: nn.Layer, shape: list[int], deploy: dict[str, Any], prefix: Path) -> list[str]:
    """Write the fast form, and into the description what it takes and gives. Returns the sizes compared."""
    from paddle_hrfamily.export.fast import from_images

    mean, std, unit = _take_normalize(deploy)
    labels = deploy["output_op"] == "argmax"
    compared = from_images.save(model, shape, mean, std, deploy["input_dtype"], prefix, labels, unit)
    deploy["output_size"] = "native" if from_images.is_native(model) and not labels else "image"
    if labels:
        deploy["output_dtype"] = from_images.label_type(len(deploy["class_names"]))
    return compared


def _take_normalize(deploy: dict[str, Any]) -> tuple[list[float], list[float], float]:
    """Take Normalize out of the description, as it goes into the graph; what is left decides what images are.

    Returns:
        Mean and deviation, and what an image's values are divided by first.


    Raises:
        UserError: it is not the last of the transforms.
    """
    transforms = deploy["transforms"] or []
    names = [entry.get("type") if isinstance(entry, dict) else None for entry in transforms]
    if names[-1:] not in (["Normalize"], ["NormalizeBands"]) or set(names[:-1]) & {"Normalize", "NormalizeBands"}:
        raise UserError(
            f"--fast puts Normalize into the graph: it must come last in val_dataset.transforms, not {names}"
        )
    # Evaluation resizes and pads in float32: such images are no longer bytes.
    *before, last = transforms
    are_bytes = not before and last.get("dtype", "uint8") == "uint8"
    deploy.update(transforms=before, input_layout="NHWC", input_dtype="uint8" if are_bytes else "float32")
    return last.get("mean", [0.5]), last.get("std", [0.5]), 255 if last["type"] == "Normalize" else 1


def _input_shape(asked: list[int] | None, in_channels: int) -> list[int]:
    if asked is None:
        return [-1, in_channels, -1, -1]
    given = f"--input_shape {' '.join(map(str, asked))}"
    if len(asked) != 4 or asked[1] != in_channels or any(extent == 0 or extent < -1 for extent in asked):
        raise UserError(f"{given}: give batch, channels, height, width, as 1 {in_channels} 512 1024 (-1 is open)")
    if any(0 < extent < 32 for extent in asked[2:]):
        raise UserError(f"{given}: height and width start at 32")
    return asked


def _deploy_description(config: Config, stem: str, shape: list[int], output: str, classes: ClassTable) -> dict:
    """PaddleSeg's deploy.yaml, which its own deploy scripts read, with names and colours of the classes."""
    return {
        "Deploy": {
            "model": f"{stem}.pdmodel",
            "params": f"{stem}.pdiparams",
            "transforms": config.val_dataset_cfg.get("transforms", []),
            "input_shape": shape,
            "output_op": output,
            "output_dtype": "int32" if output == "argmax" else "float32",
            **_as_stored(config),
            "class_names": list(classes.names),
            "class_colors": [list(color) for color in classes.colors],
        }
    }


def _as_stored(config: Config) -> dict[str, str]:
    """The type of the files' values, where the network takes images as they are stored."""
    transforms = config.val_dataset_cfg.get("transforms") or []
    for item in transforms:
        if isinstance(item, dict) and item.get("type") == "NormalizeBands":
            return {"image_dtype": item.get("dtype", "uint8")}
    return {}


def _signature(shape: list[int], output: str, num_classes: int, planes_are: str) -> tuple[str, str]:
    batch, channels, height, width = ("?" if extent == -1 else extent for extent in shape)
    planes = "" if output == "argmax" else f"{num_classes}, "
    meaning = {"argmax": "int32 class ids", "softmax": "float32 probabilities", "none": f"float32 {planes_are}"}[output]
    return (
        f"input   float32 ({batch}, {channels}, {height}, {width}), normalised as deploy.yaml's transforms say",
        f"output  ({batch}, {planes}{height}, {width}), {meaning}",
    )


def _fast_signature(shape: list[int], deploy: dict[str, Any], planes_are: str) -> tuple[str, str]:
    batch, channels, height, width = ("?" if extent == -1 else extent for extent in shape)
    size = "at the network's own stride" if deploy["output_size"] == "native" else f"{height}, {width}"
    planes, meaning = f"{len(deploy['class_names'])}, ", planes_are
    pixels = f"{deploy['image_dtype']} as it is stored" if "image_dtype" in deploy else "RGB of 0..255"
    if deploy["output_op"] == "argmax":
        planes, meaning = "", "class ids"
    return (
        f"input   {deploy['input_dtype']} ({batch}, {height}, {width}, {channels}), {pixels}",
        f"output  ({batch}, {planes}{size}), {deploy['output_dtype']} {meaning}",
    )


def _install(built: Path, save_dir: Path) -> None:
    """Copy the finished files into the folder, each whole or not at all, the description last."""
    from paddle_hrfamily.files import Unwritable, replacing

    try:
        for file in sorted(built.iterdir(), key=lambda file: (file.suffix in (".yaml", ".yml"), file.name)):
            with replacing(save_dir / file.name, durable=True) as draft:
                shutil.copyfile(file, draft)
    except Unwritable as error:
        raise UserError(f"--save_dir {save_dir}: cannot be written ({error.reason})") from None
