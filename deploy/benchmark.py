"""Time exported networks from uint8 pictures to label maps of their size, stage by stage, alone or against each other.

    python deploy/benchmark.py output/exported
    python deploy/benchmark.py output/exported street/ --size 512x1024 1024x2048 --batch 1 4 --plot latency.png
    python deploy/benchmark.py output/exported --compare other/exported --compare ,backend=openvino,precision=bf16
    python deploy/benchmark.py output/exported,backend=onnxruntime,name=ours --json figures.json --markdown figures.md

A network is FOLDER[,backend=…][,precision=…][,device=…][,threads=…][,tensorrt=yes][,name=…]; what is left out, even the
folder, is as for the first one and the flags. Each runs in a process of its own, pinned to as many cores as it has
threads. With --compare they take turns, one at a time, and who begins changes from round to round; the ratio is the
median over rounds, with a bootstrap 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import errors
import exported
import machine
import pictures
import plan
from benchmarking import frames, plot, report
from benchmarking.configuration import Configuration, parse
from benchmarking.frames import Size
from benchmarking.measuring import Measured, Ratio, measure, steps
from errors import UserError
from tqdm import tqdm

LEAST_RUNS = 5
_USUAL_SIZE = (512, 1024)


def parser() -> argparse.ArgumentParser:
    summary, _, rest = __doc__.partition("\n\n")
    made = errors.Parser(
        prog="benchmark.py", description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("network", help="what `hrfamily export` or PaddleSeg's export wrote, and how to run it (below)")
    add("pictures", nargs="?", type=Path, help="a picture, a folder, or a text file of paths (default: random ones)")
    add("--frames", type=int, default=8, help="of the pictures, at most, evenly spaced (default: %(default)s)")
    add(
        "--size",
        nargs="+",
        type=_size,
        metavar="HxW",
        help="of the pictures, which are resized (default: the graph's, else the first picture's, else 512x1024)",
    )
    add("--batch", nargs="+", type=int, help="pictures at a time (default: the graph's, else 1)")
    add("--runs", type=int, default=20, help=f"that count, {LEAST_RUNS} or more (default: %(default)s)")
    add("--warm-up", type=int, default=3, help="runs before them (default: %(default)s)")
    add("--compare", action="append", default=[], metavar="NETWORK", help="another one, repeatable (default: none)")
    add("--backend", default="paddle", help=f"{', '.join(plan.BACKENDS)} (default: %(default)s)")
    add("--precision", default="fp32", help=f"{', '.join(plan.PRECISIONS)} (default: %(default)s)")
    add("--device", default="auto", help=f"{plan.DEVICES} (default: %(default)s)")
    add("--threads", type=int, help="of the processor (default: its physical cores)")
    add("--json", type=Path, metavar="FILE", help="write figures, plans and every run (default: not written)")
    add("--markdown", type=Path, metavar="FILE", help="write the tables that are printed (default: not written)")
    add("--plot", type=Path, metavar="FILE.png", help="draw latency against size and batch (default: not drawn)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    _check(args)
    configurations = _configurations(args)
    first, *_ = [exported.read(each.folder) for each in configurations]
    files = frames.real(args.pictures, args.frames) if args.pictures else []
    sizes = args.size or [_usual_size(first, files)]
    batches = args.batch or [max(1, first.input_shape[0])]
    rows, ratios = _measure_all(configurations, files, sizes, batches, args)
    shown = f"{len(files)} real pictures" if files else f"{args.frames} random pictures"
    method = {"runs": args.runs, "warm_up": args.warm_up, "pictures": shown}
    _write(report.Report(report.describe_machine(), method, rows, ratios), args)
    return 0


def _measure_all(
    configurations: Sequence[Configuration],
    files: Sequence[bytes],
    sizes: Sequence[Size],
    batches: Sequence[int],
    args: argparse.Namespace,
) -> tuple[list[Measured], list[Ratio]]:
    rows: list[Measured] = []
    ratios: list[Ratio] = []
    each = steps(len(configurations), len(files) or args.frames, args.warm_up + args.runs)
    with tqdm(total=len(sizes) * len(batches) * each, desc="benchmark", unit="run") as bar:
        for size in sizes:
            sized = [frames.at_size(data, size) for data in files] or frames.random(size, args.frames)
            for batch in batches:
                bar.set_postfix_str(f"{size[0]}x{size[1]}, batch {batch}")
                found = measure(
                    configurations, sized, size, batch, runs=args.runs, warm_up=args.warm_up, progress=bar.update
                )
                rows += found[0]
                ratios += found[1]
    return rows, ratios


def _configurations(args: argparse.Namespace) -> list[Configuration]:
    threads = machine.probe().cores if args.threads is None else args.threads
    first = parse(args.network, Configuration(Path(), args.backend, args.precision, args.device, threads))
    return [first, *(parse(text, first) for text in args.compare)]


def _usual_size(network: exported.Exported, files: Sequence[bytes]) -> Size:
    height, width = network.input_shape[2:]
    if height > 0 and width > 0:
        return height, width
    return frames.size_of(files[0]) if files else _USUAL_SIZE


def _write(made: report.Report, args: argparse.Namespace) -> None:
    text = made.markdown()
    print(text, end="")
    if args.markdown:
        with pictures.replacing(args.markdown) as draft:
            draft.write_text(text, encoding="utf-8")
    if args.json:
        with pictures.replacing(args.json) as draft:
            draft.write_text(json.dumps(made.json(), indent=1, ensure_ascii=False), encoding="utf-8")
    if args.plot:
        plot.write(args.plot, made.rows)


def _check(args: argparse.Namespace) -> None:
    least = {"runs": LEAST_RUNS, "warm_up": 0, "frames": 1, "threads": 1}
    given = [(name, getattr(args, name), low) for name, low in least.items()]
    for name, value, low in [*given, *(("batch", value, 1) for value in args.batch or [])]:
        if value is not None and value < low:
            raise UserError(f"--{name.replace('_', '-')} {value} must be a whole number from {low} up")
    if args.plot:
        plot.check(args.plot)


def _size(text: str) -> Size:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text} must be height and width in pixels, as 512x1024")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(errors.run(main))
