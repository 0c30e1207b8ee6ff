"""Write an exported network once more with 8-bit integers inside, for OpenVINO on CPUs.

    hrfamily quantize output/exported street/ --save-dir output/exported_int8
    hrfamily benchmark output/exported_int8 --backend openvino --precision bf16 --compare output/exported

Images like those to come (training's, not those it is judged by) show the range of each tensor: NNCF quantises
convolutions but the first two, and what lies between them, symmetrically, weights channel by channel. What stays in
floating point is as --precision says where it is run. The labels of these images are then held against the
network's own: the folder is written where enough are equal; else nothing is, and the exit status is 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrfamily_deploy.scripts import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from hrfamily_deploy.convert.quantization import FRAMES, LEAST_EQUAL

    add = parser.add_argument
    add("folder", type=Path, help=f"{flags.ANY_FOLDER}; with --fast it runs fastest")
    add("images", type=Path, help="a folder, or a text file of paths; of the graph's size where that is fixed")
    add("--save-dir", type=Path, required=True, help="folder to write")
    add("--frames", type=int, default=FRAMES, help="of the images, at most, evenly spaced (default: %(default)s)")
    add("--least", type=float, default=LEAST_EQUAL, help="share of pixels that must be equal (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    from hrfamily_deploy.convert.quantization import quantize

    equal, frames = quantize(args.folder, args.images, args.save_dir, args.frames, args.least)
    print(f"{equal:.4%} of pixels have the label that the network itself gives, on {frames} images")
    print(f"{args.save_dir} is written; run it with --backend openvino")
    return 0
