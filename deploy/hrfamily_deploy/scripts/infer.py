"""Segment images, a video or a webcam with an exported network: overlays with a legend, label maps, class shares.

    hrfamily infer output/exported street.jpg
    hrfamily infer output/exported folder/ --batch 4 --save-dir result
    hrfamily infer output/exported drive.mp4 --backend auto
    hrfamily infer output/exported 0 --frames 300        # the first webcam, until 300 frames or Ctrl-C
    hrfamily infer output/exported aerial.tif --tile 1024 --overlap 128
    hrfamily infer output/exported folder/ --confidence --unsure 0.6
    hrfamily infer output/exported folder/ --polygons labelme --min-area 64 --tolerance 1
    hrfamily infer output/exported --dry-run             # how it would be run here

Confidence, and what is unsure, need a graph that ends in logits or probabilities: export with --fast, or with
--output_op softmax. Polygons are GeoJSON, in map coordinates for GeoTIFFs, or what labelme or COCO's tools read:
corrected there, they are training data for `hrfamily new`.

The exit status is 0; 1 where something was left out, such as a damaged image; 2 for what cannot be done at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import flags

if TYPE_CHECKING:
    from hrfamily_deploy.imaging.image_files import Source
    from hrfamily_deploy.imaging.video import Video
    from hrfamily_deploy.runtime.options import Options
    from hrfamily_deploy.segmentation import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=Path, help=flags.FOLDER)
    add("source", nargs="?", help="an image, a folder, a text file of paths, a video, or the index of a webcam")
    add("--dry-run", action="store_true", help="print how it would be run here, and stop (default: off)")
    add("--frames", type=int, help="of a video or webcam, at most (default: all)")
    add = parser.add_argument_group("results").add_argument
    add("--save-dir", type=Path, default=Path("output/segmented"), help="folder for results (default: %(default)s)")
    add("--opacity", type=float, default=0.4, help="of the colours, 0 to 1 (default: %(default)s)")
    add("--no-legend", action="store_true", help="overlays of the image's size (default: with a legend)")
    add("--no-overlay", action="store_true", help="label maps and shares alone (default: overlays, too)")
    flags.add_answers(parser)
    add = flags.add_runtime(parser).add_argument
    add("--batch", type=int, default=1, help="images of one size, or tiles, at a time (default: %(default)s)")
    add = parser.add_argument_group("large images").add_argument
    add("--tile", type=int, default=0, help="cut large images into tiles of that side, 0: never (default: %(default)s)")
    add("--overlap", type=int, default=128, help="pixels that neighbouring tiles share (default: %(default)s)")
    flags.add_gpu(parser, sizes="for TensorRT, of open graphs (default: none)")


def run(args: argparse.Namespace) -> int:
    from hrfamily_deploy import segmentation
    from hrfamily_deploy.imaging.video import Video
    from hrfamily_deploy.predictor import Predictor

    _check(args)
    results = segmentation.Results(
        folder=args.save_dir,
        overlays=not args.no_overlay,
        legend=not args.no_legend,
        opacity=args.opacity,
        confidence=args.confidence,
        measure=args.measure,
        unsure=args.unsure,
        polygons=flags.polygons(args),
    )
    options = flags.options(args, args.batch)
    if args.dry_run:
        print(_plan(args.folder, options))
        return 0
    source = _source(args)
    predictor = Predictor(args.folder, **vars(options))
    for note in predictor.plan().notes:
        print(f"note: {note}")
    if isinstance(source, Video):
        done = segmentation.segment_video(source, predictor, results, args.frames)
        missing = f"{args.source} breaks off after {done.done} frames: its header promises {source.length}"
    else:
        done = segmentation.segment_images(source, predictor, results, args.tile, args.overlap)
        missing = f"{done.missing} of {len(source)} images were left out"
    _print_shares(done, args.save_dir)
    if done.missing:
        print(missing)
    return int(done.missing > 0)


def _plan(folder: Path, options: Options) -> str:
    from hrfamily_deploy import bundle
    from hrfamily_deploy.runtime import autotune, hardware

    plan = autotune.plan(bundle.read(folder), options, hardware.probe(), measure=False)
    return json.dumps(plan.to_json(), indent=2)


def _source(args: argparse.Namespace) -> list[Source] | Video:
    from hrfamily_deploy.imaging import image_files, video

    if args.source is None:
        raise UserError("source is missing: an image, a folder, a text file of paths, a video, or a webcam's index")
    path = Path(args.source).expanduser()
    is_webcam = args.source.isdigit() and not path.exists()
    if not is_webcam and path.suffix.lower() not in video.SUFFIXES:
        return image_files.find(path)
    for name in ("tile", "confidence", "polygons"):
        if getattr(args, name):
            value = "" if name == "confidence" else f" {getattr(args, name)}"
            raise UserError(f"--{name}{value} is for images, and {args.source} is a video")
    return video.Video(int(args.source) if is_webcam else path)


def _print_shares(done: Summary, folder: Path) -> None:
    from hrfamily_deploy.imaging import drawing

    for index in done.pixels.argsort()[::-1]:
        if done.pixels[index]:
            share = drawing.per_cent(done.pixels[index] / done.pixels.sum())
            print(f"{done.names[index]:<20} {share:>7}")
    print(f"results are in {folder}")


def _check(args: argparse.Namespace) -> None:
    flags.check_opacity(args)
    flags.check_counts(args, "frames")
    if args.tile < 0:
        raise UserError(f"--tile {args.tile} must be a side in pixels, or 0 for whole images")
