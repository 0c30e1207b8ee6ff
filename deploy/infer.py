"""Segment pictures, a video or a webcam with an exported network: overlays with a legend, label maps, class shares.

    python deploy/infer.py output/exported street.jpg
    python deploy/infer.py output/exported folder/ --batch 4 --save-dir result
    python deploy/infer.py output/exported drive.mp4 --backend auto
    python deploy/infer.py output/exported 0 --frames 300        # the first webcam, until 300 frames or Ctrl-C
    python deploy/infer.py output/exported aerial.tif --tile 1024 --overlap 128
    python deploy/infer.py output/exported --dry-run             # how it would be run here

The exit status is 0; 1 where something was left out, such as a damaged picture; 2 for what cannot be done at all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice, tee
from pathlib import Path
from typing import Optional

import drawing
import errors
import exported
import machine
import numpy as np
import pictures
import plan
import tiles
from errors import UserError
from predictor import Predictor
from preprocess import Prepared
from tqdm import tqdm

OVERLAYS, LABELS, SHARES = "overlay", "labels", "shares.json"
Readable = tuple[pictures.Source, np.ndarray, Optional[Prepared]]  # a picture that can be run, prepared unless by tiles
_MOST_PIXELS = 40_000_000  # in one run; networks need up to 100 bytes and more for each


def parser() -> argparse.ArgumentParser:
    summary, _, examples = __doc__.partition("\n\n")
    made = errors.Parser(
        prog="infer.py", description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("folder", type=Path, help="what `hrfamily export` wrote")
    add("source", nargs="?", help="a picture, a folder, a text file of paths, a video, or the index of a webcam")
    add("--save-dir", type=Path, default=Path("output/segmented"), help="folder for results (default: %(default)s)")
    add("--device", default="auto", help=f"{plan.DEVICES} (default: %(default)s)")
    add("--backend", default="paddle", help=f"{', '.join(plan.BACKENDS)} (default: %(default)s)")
    add("--precision", default="fp32", help=f"{', '.join(plan.PRECISIONS)} (default: %(default)s)")
    add("--threads", type=int, help="of the processor (default: its physical cores)")
    add("--batch", type=int, default=1, help="pictures of one size, or tiles, at a time (default: %(default)s)")
    add("--tensorrt", action="store_true", help="compile for this GPU, once (default: off)")
    add(
        "--sizes", nargs="+", type=_size, default=[], metavar="HxW", help="for TensorRT, of open graphs (default: none)"
    )
    add("--gpu-memory", type=int, default=1024, metavar="MIB", help="to take at once (default: %(default)s)")
    add("--cache", type=Path, help="folder for TensorRT's engines (default: tensorrt/ in the network's folder)")
    add(
        "--tile",
        type=int,
        default=0,
        help="cut large pictures into tiles of that side, 0: never (default: %(default)s)",
    )
    add("--overlap", type=int, default=128, help="pixels that neighbouring tiles share (default: %(default)s)")
    add("--frames", type=int, help="of a video or webcam, at most (default: all)")
    add("--opacity", type=float, default=0.4, help="of the colours, 0 to 1 (default: %(default)s)")
    add("--no-legend", action="store_true", help="overlays of the picture's size (default: with a legend)")
    add("--no-overlay", action="store_true", help="label maps and shares alone (default: overlays, too)")
    add("--dry-run", action="store_true", help="print how it would be run here, and stop (default: off)")
    return made


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    _check(args)
    options = {
        "device": args.device,
        "precision": args.precision,
        "threads": args.threads,
        "backend": args.backend,
        "batch": args.batch,
        "tensorrt": args.tensorrt,
        "sizes": args.sizes,
        "gpu_memory_mb": args.gpu_memory,
        "cache": args.cache,
    }
    if args.dry_run:
        print(json.dumps(plan.make(exported.read(args.folder), plan.Options(**options), machine.probe()), indent=2))
        return 0
    if args.source is None:
        raise UserError("source is missing: a picture, a folder, a text file of paths, a video, or a webcam's index")
    path = Path(args.source).expanduser()
    is_webcam = args.source.isdigit() and not path.exists()
    is_video = is_webcam or path.suffix.lower() in pictures.VIDEO_SUFFIXES
    if is_video and args.tile:
        raise UserError(f"--tile {args.tile} is for pictures, and {args.source} is a video")
    source = pictures.Video(int(args.source) if is_webcam else path) if is_video else pictures.find(path)
    predictor = Predictor(args.folder, **options)
    for note in predictor.plan()["notes"]:
        print(f"note: {note}")
    return segment_video(source, predictor, args) if is_video else segment_pictures(source, predictor, args)


def segment_pictures(sources: list[pictures.Source], predictor: Predictor, args: argparse.Namespace) -> int:
    """Write a label map and an overlay of each picture, and the shares of all. Returns 1 if some were left out.

    Raises:
        UserError: it is so with every one.
    """
    if args.tile:
        tiles.check(predictor, args.tile, args.overlap)
    left_out: list[dict[str, str]] = []
    report, pixels = [], np.zeros(len(predictor.exported.class_names))
    for source, image, label in _labelled(sources, predictor, args, left_out):
        share = drawing.shares(label, len(pixels))
        pixels += share * label.size
        report.append({"name": source.name, "height": label.shape[0], "width": label.shape[1], "shares": share})
        stem = Path(source.name).with_suffix("")
        pictures.write_label(args.save_dir / LABELS / f"{stem}.png", label, predictor.exported.class_colors)
        if not args.no_overlay:
            pictures.write(args.save_dir / OVERLAYS / source.name, _drawn(image, label, share, predictor, args))
    if not report:
        raise UserError(f"none of {len(sources)} pictures could be segmented: {left_out[0]['reason']}")
    _write_shares(args.save_dir, predictor, pixels, pictures=report, left_out=left_out)
    _say(predictor, pixels, args.save_dir)
    if left_out:
        print(f"{len(left_out)} of {len(sources)} pictures were left out")
    return int(bool(left_out))


def segment_video(video: pictures.Video, predictor: Predictor, args: argparse.Namespace) -> int:
    """Write the video under its classes' colours, and the shares. Returns 1 if it breaks off before its end."""
    frames, pixels = 0, np.zeros(len(predictor.exported.class_names))
    promised = min(video.length, args.frames or video.length)
    running, shown = tee(islice(video, args.frames))
    path = args.save_dir / OVERLAYS / f"{video.name}.mp4"
    with contextlib.ExitStack() as stack:
        writer = None if args.no_overlay else stack.enter_context(pictures.video_writer(path, video.fps))
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))  # how a webcam is stopped
        labels = predictor.predict_each(running)
        for label, frame in tqdm(zip(labels, shown), "segmenting", promised or args.frames, unit="frame"):
            frames += 1
            pixels += drawing.shares(label, len(pixels)) * label.size
            if writer:
                writer.add(_drawn(frame, label, None, predictor, args))
    _write_shares(args.save_dir, predictor, pixels, frames=frames, frames_per_second=video.fps)
    _say(predictor, pixels, args.save_dir)
    if frames < promised:
        print(f"{args.source} breaks off after {frames} frames: its header promises {video.length}")
    return int(frames < promised)


def _labelled(
    sources: list[pictures.Source], predictor: Predictor, args: argparse.Namespace, left_out: list[dict[str, str]]
) -> Iterator[tuple[pictures.Source, np.ndarray, np.ndarray]]:
    """Each picture that can be read, with its labels; why the others cannot be goes to `left_out`."""
    readable = _readable(tqdm(sources, "segmenting", unit="picture"), predictor, args, left_out)
    if args.tile:
        yield from _by_tiles(readable, predictor, args, left_out)
        return
    running, shown = tee(readable)
    labels = predictor.predict_prepared(item for _, _, item in running)
    for label, (source, image, _) in zip(labels, shown):
        yield source, image, label


def _by_tiles(
    readable: Iterable[Readable], predictor: Predictor, args: argparse.Namespace, left_out: list[dict[str, str]]
) -> Iterator[tuple[pictures.Source, np.ndarray, np.ndarray]]:
    for source, image, _ in readable:
        try:
            label = tiles.predict(predictor, image, args.tile, args.overlap, progress=True)
        except UserError as error:  # smaller than a graph's fixed shape
            _leave_out(source, error, left_out)
        else:
            yield source, image, label


def _readable(
    sources: Iterable[pictures.Source], predictor: Predictor, args: argparse.Namespace, left_out: list[dict[str, str]]
) -> Iterator[Readable]:
    for source in sources:
        try:
            image = pictures.decode(source.path, predictor.exported.channels)
            if not args.tile and predictor.pipeline.keeps_size and image.shape[0] * image.shape[1] > _MOST_PIXELS:
                raise UserError(f"{image.shape[1]}x{image.shape[0]} pixels are too many for one run; give --tile 1024")
            item = None if args.tile else predictor.prepare(image)
        except UserError as error:
            _leave_out(source, error, left_out)
        else:
            yield source, image, item


def _leave_out(source: pictures.Source, error: UserError, left_out: list[dict[str, str]]) -> None:
    reason = str(error) if str(source.path) in str(error) else f"{source.path}: {error}"
    left_out.append({"name": source.name, "reason": reason})
    tqdm.write(f"left out: {reason}", file=sys.stderr)


def _drawn(
    image: np.ndarray, label: np.ndarray, share: np.ndarray | None, predictor: Predictor, args: argparse.Namespace
) -> np.ndarray:
    names, colors = predictor.exported.class_names, predictor.exported.class_colors
    picture = drawing.overlay(image, label, colors, args.opacity)
    return picture if args.no_legend else drawing.with_legend(picture, names, colors, share)


def _write_shares(folder: Path, predictor: Predictor, pixels: np.ndarray, **more: object) -> None:
    names = predictor.exported.class_names

    def named(share: np.ndarray) -> dict[str, float]:
        return {names[index]: round(float(share[index]), 6) for index in np.flatnonzero(share)}

    content = {"shares": pixels / max(1, pixels.sum()), **more}
    with pictures.replacing(folder / SHARES) as draft:
        draft.write_text(json.dumps(content, indent=1, default=named, ensure_ascii=False), encoding="utf-8")


def _say(predictor: Predictor, pixels: np.ndarray, folder: Path) -> None:
    for index in np.argsort(pixels)[::-1]:
        if pixels[index]:
            print(f"{predictor.exported.class_names[index]:<20} {drawing.per_cent(pixels[index] / pixels.sum()):>7}")
    print(f"results are in {folder}")


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.opacity <= 1:
        raise UserError(f"--opacity {args.opacity} must be a number of 0 (picture alone) to 1 (colours alone)")
    if args.frames is not None and args.frames < 1:
        raise UserError(f"--frames {args.frames} must be a whole number above 0")
    if args.tile < 0:
        raise UserError(f"--tile {args.tile} must be a side in pixels, or 0 for whole pictures")


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.lower().split("x"))
    return height, width


if __name__ == "__main__":
    sys.exit(errors.run(main))
