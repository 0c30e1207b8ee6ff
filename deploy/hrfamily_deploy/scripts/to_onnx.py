"""Convert an exported network to ONNX, and hold it against Paddle Inference before it takes its place.

    hrfamily onnx output/exported
    hrfamily onnx output/exported --check street.jpg another.png

Writes model.onnx beside the graph, for `--backend onnxruntime` and other runtimes, once ONNX Runtime and Paddle
Inference agree on the images of --check and on generated ones, of several sizes and batches where the graph leaves
them open. Else nothing is left behind, and the exit status is 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrfamily_deploy.scripts import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from hrfamily_deploy.convert.onnx_export import OPSET

    add = parser.add_argument
    add("folder", type=Path, help=flags.ANY_FOLDER)
    add("--opset", type=int, default=OPSET, help="ONNX's version of operators (default: %(default)s)")
    add("--check", nargs="+", default=[], metavar="IMAGE", help="compare on these, too (default: generated ones alone)")


def run(args: argparse.Namespace) -> int:
    from hrfamily_deploy.convert import onnx_export

    done = onnx_export.convert(args.folder, args.opset, args.check)
    print(f"input   {done.signature[0]}\noutput  {done.signature[1]}")
    print(f"{done.nodes} nodes and {done.constants} constants, opset {done.opset}")
    for compared in done.compared:
        print(f"ONNX Runtime and Paddle Inference at {compared}")
    print(f"{done.file} is written, {done.file.stat().st_size / 2**20:.1f} MiB")
    return 0
