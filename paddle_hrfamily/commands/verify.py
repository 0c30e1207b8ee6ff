"""Hold every form of an exported network, on every runtime that is here, against the trained network itself.

    hrfamily verify --model_path output/best_model --folder output/exported --images street.jpg
    hrfamily verify --model_path … --folder … --images data/test --limit 20 --json verified.json

A row is a format of the folder (pdmodel or json, and onnx after `hrfamily onnx`), a runtime and a precision: the
share of pixels with the network's label, and how far logits are off. Where the folder ends in labels, a twin that ends
in logits is exported for that and thrown away. What cannot run here is named with its reason. The exit status is 1 if a
row has less than 99.99 % of pixels equal (fp16 99.9 %, bf16 98 %), or does not run.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from paddle_hrfamily.export.verification import Row

PRECISIONS = ("fp32", "bf16", "fp16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flags.add_weights(flags.add_config(parser), required=True)
    add = parser.add_argument_group("what is compared").add_argument
    add("--folder", required=True, type=Path, help="what `hrfamily export` wrote of these weights")
    add("--images", required=True, nargs="+", type=Path, help="images, folders of them, or text files of paths")
    add("--limit", type=int, metavar="N", help="of the images, the first ones (default: all)")
    add("--precisions", nargs="+", choices=PRECISIONS, default=["fp32", "bf16"], help="default: fp32 bf16")
    parser.add_argument_group("output").add_argument(
        "--json", type=Path, metavar="FILE", help="write everything there as well"
    )
    parser.add_argument_group("hardware").add_argument(
        "--device", default="auto", help="auto, cpu, gpu or gpu:N (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Compute what the network says, then row after row. Returns 1 if one of them is wrong."""
    flags.register(args)
    from hrfamily_deploy.bundle import read as read_bundle
    from hrfamily_deploy.imaging import image_files
    from paddle_hrfamily.export import verification
    from paddle_hrfamily.files import write_json

    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit} must be a number of images")
    flags.check_json(args.json)
    with tempfile.TemporaryDirectory() as temporary:
        bundle = read_bundle(args.folder)
        images = [source.path for path in args.images for source in image_files.find(path.expanduser())]
        images = images[: args.limit]
        model, network = _network(args)
        references = verification.References.compute(images, network, Path(temporary))
        twin = args.folder
        if bundle.output != "logits":
            twin = verification.twin_in_logits(args.folder, model, Path(temporary))
        rows = list(verification.rows(args.folder, twin, references, args.precisions, args.device))
    print(_table(rows))
    if args.json:
        write_json(args.json, _content(args, images, rows))
        print(f"everything is in {args.json}")
    if all(row.verdict == "skipped" for row in rows):
        raise UserError("nothing could be compared here: see the reasons above")
    return int(any(row.is_wrong for row in rows))


def _network(args: argparse.Namespace) -> tuple[object, Callable[[Path], np.ndarray]]:
    """The dynamic network, and a function from an image's file to its output (K, H, W)."""
    from paddleseg.utils import utils

    from paddle_hrfamily.data import reading
    from paddle_hrfamily.inference.options import InferenceOptions
    from paddle_hrfamily.inference.prediction import map_predictor
    from paddle_hrfamily.integration import config_file, held_config, model_loading

    utils.set_device("cpu" if args.device == "cpu" else "gpu")  # which falls back
    config = flags.read_config(args)
    exported = held_config.beside(args.folder)
    if exported is not None:
        held_config.check(config, f"--model_path {args.model_path}", exported, "export these weights again")
    builder, model = model_loading.network(config, model_loading.weights_file(args.model_path, config))
    predict = map_predictor(model, builder, config_file.in_channels(config), InferenceOptions())
    read = reading.reader(builder.val_transforms)
    return model, lambda image: predict(read(image))


def _table(rows: Sequence[Row]) -> str:
    from prettytable import PrettyTable

    table = PrettyTable(["format", "runtime", "precision", "pixels equal", "worst image", "logits differ", "verdict"])
    for row in rows:
        version = f"{row.backend} {row.version}" if row.version else row.backend
        shares = ["-" if share is None else f"{100 * share:.4f} %" for share in (row.equal, row.worst)]
        differ = "-" if row.difference is None else f"{row.difference:.2g} of {row.greatest:.3g}"
        table.add_row([row.format, version, row.precision, *shares, differ, row.verdict])
    reasons = [f"{row.verdict}: {row.backend} {row.precision}: {row.reason}" for row in rows if row.reason]
    notes = dict.fromkeys(f"note: {row.backend}: {note}" for row in rows for note in row.notes)
    return "\n".join([str(table), *reasons, *notes])


def _content(args: argparse.Namespace, images: Sequence[Path], rows: Sequence[Row]) -> dict[str, object]:
    import paddle

    from paddle_hrfamily import __version__

    return {
        "config": args.config,
        "weights": args.model_path,
        "folder": str(args.folder),
        "pictures": list(map(str, images)),
        "versions": {"paddle": paddle.__version__, "paddle_hrfamily": __version__},
        "rows": [asdict(row) for row in rows],
    }
