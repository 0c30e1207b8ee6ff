"""Time exported networks from uint8 images to label maps of their size, stage by stage, alone or against each other.

    hrfamily benchmark output/exported
    hrfamily benchmark output/exported street/ --size 512x1024 1024x2048 --batch 1 4 --plot latency.png
    hrfamily benchmark output/exported --compare other/exported --compare ,backend=openvino,precision=bf16
    hrfamily benchmark output/exported,backend=onnxruntime,name=ours --json figures.json --markdown figures.md

A network is FOLDER[,backend=…][,precision=…][,device=…][,threads=…][,tensorrt=yes][,name=…]; what is left out, even the
folder, is as for the first one and the flags. Each runs in a process of its own, pinned to as many cores as it has
threads. With --compare they take turns, one at a time, and who begins changes from round to round; the ratio is the
median over rounds, with a bootstrap 95 % interval.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import flags

if TYPE_CHECKING:
    from hrfamily_deploy.benchmarking.configuration import Configuration
    from hrfamily_deploy.benchmarking.report import Report
    from hrfamily_deploy.runtime.options import Size

LEAST_RUNS = 5
_USUAL_SIZE = (512, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("network", help=f"{flags.ANY_FOLDER}, and how to run it (below)")
    add("images", nargs="?", type=Path, help="an image, a folder, or a text file of paths (default: random ones)")
    add("--compare", action="append", default=[], metavar="NETWORK", help="another one, repeatable (default: none)")
    add = parser.add_argument_group("what is run").add_argument
    add("--frames", type=int, default=8, help="of the images, at most, evenly spaced (default: %(default)s)")
    add(
        "--size",
        nargs="+",
        type=flags.size,
        metavar="HxW",
        help="of the images, which are resized (default: the graph's, else the first image's, else 512x1024)",
    )
    add("--batch", nargs="+", type=int, help="images at a time (default: the graph's, else 1)")
    add("--runs", type=int, default=20, help=f"that count, {LEAST_RUNS} or more (default: %(default)s)")
    add("--warm-up", type=int, default=3, help="runs before them (default: %(default)s)")
    flags.add_runtime(parser)
    add = parser.add_argument_group("results").add_argument
    add("--json", type=Path, metavar="FILE", help="write figures, plans and every run (default: not written)")
    add("--markdown", type=Path, metavar="FILE", help="write the tables that are printed (default: not written)")
    add("--plot", type=Path, metavar="FILE.png", help="draw latency against size and batch (default: not drawn)")


def run(args: argparse.Namespace) -> int:
    from hrfamily_deploy import bundle
    from hrfamily_deploy.benchmarking import frames, report
    from hrfamily_deploy.benchmarking.suite import Suite, measure_all

    _check(args)
    configurations = _configurations(args)
    first, *_ = [bundle.read(each.folder) for each in configurations]
    files = frames.real(args.images, args.frames) if args.images else []
    sizes = args.size or [_usual_size(first.input_shape[2:], files)]
    batches = args.batch or [max(1, first.input_shape[0])]
    suite = Suite(sizes, batches, args.runs, args.warm_up, args.frames)
    rows, ratios = measure_all(configurations, files, suite)
    shown = f"{len(files)} real images" if files else f"{args.frames} random images"
    method = {"runs": args.runs, "warm_up": args.warm_up, "pictures": shown}
    _write(report.Report(report.describe_machine(), method, rows, ratios), args)
    return 0


def _configurations(args: argparse.Namespace) -> list[Configuration]:
    from hrfamily_deploy import cpu
    from hrfamily_deploy.benchmarking.configuration import Configuration, parse

    threads = cpu.read().cores if args.threads is None else args.threads
    first = parse(args.network, Configuration(Path(), args.backend, args.precision, args.device, threads))
    return [first, *(parse(text, first) for text in args.compare)]


def _usual_size(extents: Sequence[int], files: Sequence[bytes]) -> Size:
    """The size that the graph takes, else that of the first image, else 512x1024."""
    from hrfamily_deploy.benchmarking import frames

    height, width = extents
    if height > 0 and width > 0:
        return height, width
    return frames.size_of(files[0]) if files else _USUAL_SIZE


def _write(made: Report, args: argparse.Namespace) -> None:
    from hrfamily_deploy.benchmarking import plot
    from hrfamily_deploy.files import replacing

    text = made.markdown()
    print(text, end="")
    if args.markdown:
        with replacing(args.markdown) as draft:
            draft.write_text(text, encoding="utf-8")
    if args.json:
        with replacing(args.json) as draft:
            draft.write_text(json.dumps(made.json(), indent=1, ensure_ascii=False), encoding="utf-8")
    if args.plot:
        plot.write(args.plot, made.rows)


def _check(args: argparse.Namespace) -> None:
    from hrfamily_deploy.benchmarking import plot

    least = {"runs": LEAST_RUNS, "warm_up": 0, "frames": 1, "threads": 1}
    given = [(name, getattr(args, name), low) for name, low in least.items()]
    for name, value, low in [*given, *(("batch", value, 1) for value in args.batch or [])]:
        if value is not None and value < low:
            raise UserError(f"--{name.replace('_', '-')} {value} must be a whole number from {low} up")
    if args.plot:
        plot.check(args.plot)
