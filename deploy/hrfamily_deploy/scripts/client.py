"""Segment images with a server that runs elsewhere: label maps, overlays, or JSON.

    hrfamily client http://127.0.0.1:8000                                    # the models it has
    hrfamily client http://127.0.0.1:8000 street.jpg --output overlay
    hrfamily client http://127.0.0.1:8000 folder/ more.png --model camvid --concurrency 4 --save-dir result

In Python:

    from hrfamily_deploy import Client

    client = Client("http://127.0.0.1:8000")
    label = client.segment("street.jpg")                    # (H, W) uint8

The exit status is 0; 1 where the server refused some of the images; 2 for what cannot be done at all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import flags

if TYPE_CHECKING:
    from hrfamily_deploy.client import Client
    from hrfamily_deploy.imaging.image_files import Source

_OF_ONE_IMAGE = (400, 413, 415, 422, 504)  # statuses of refusals that say nothing of the next image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from hrfamily_deploy.imaging.confidence import MEASURES
    from hrfamily_deploy.serving.outputs import OUTPUTS

    *first, last = OUTPUTS
    add = parser.add_argument
    add("url", help="of the server, such as http://127.0.0.1:8000")
    add("images", nargs="*", type=Path, metavar="IMAGE", help="images, folders, text files of paths; none: its models")
    add("--model", help="its name (default: the only one)")
    add("--output", choices=OUTPUTS, default="labels", help=f"{', '.join(first)} or {last} (default: %(default)s)")
    add("--opacity", type=float, default=0.4, help="of an overlay's colours, 0 to 1 (default: %(default)s)")
    add("--measure", choices=MEASURES, default=MEASURES[0], help="of confidence (default: %(default)s)")
    add("--unsure", type=float, metavar="THRESHOLD", help="pixels of less probability, or more entropy, become 255")
    add("--save-dir", type=Path, default=Path("output/segmented"), help="folder for results (default: %(default)s)")
    add = parser.add_argument_group("the connection").add_argument
    add("--concurrency", type=int, default=1, help="requests at the same time (default: %(default)s)")
    add("--timeout", type=float, default=60.0, help="seconds the server may be silent (default: %(default)s)")
    add("--retries", type=int, default=10, help="further attempts while it is busy (default: %(default)s)")
    flags.add_api_key(parser, "the server's key, if it wants one")


def run(args: argparse.Namespace) -> int:
    from hrfamily_deploy.client import Client

    _check(args)
    with Client(args.url, flags.api_key(args), args.timeout, args.retries, args.concurrency) as client:
        if not args.images:
            for entry in client.models():
                print(f"{entry['name']:<24} {len(entry['classes'])} classes")
            return 0
        sources = list(_sources(args.images))
        return _segment_all(client, sources, args.model or client.only_model(), args)


def _segment_all(client: Client, sources: list[Source], model: str, args: argparse.Namespace) -> int:
    from hrfamily_deploy.client import ServerError
    from hrfamily_deploy.files import replacing
    from hrfamily_deploy.progress import progress, say

    def segment(source: Source) -> str:
        """Why the image was left out, or an empty string."""
        try:
            content, suffix = client.fetch(
                source.path, model, args.output, args.opacity, measure=args.measure, unsure=args.unsure
            )
        except UserError as error:
            if isinstance(error, ServerError) and error.status not in _OF_ONE_IMAGE:
                raise
            return f"{source.path}: {error}"
        with replacing(folder / f"{source.stem}{suffix}") as draft:
            draft.write_bytes(content)
        return ""

    start, folder, left_out = time.perf_counter(), args.save_dir / args.output, []
    with ThreadPoolExecutor(args.concurrency) as pool:  # the first error ends it: `map` takes back what has not begun
        reasons = pool.map(segment, sources)
        for reason in progress(reasons, "segmenting", len(sources), disable=len(sources) == 1):
            if reason:
                left_out.append(reason)
                say(f"left out: {reason}")
    done, seconds = len(sources) - len(left_out), time.perf_counter() - start
    if not done:
        raise UserError(f"none of {len(sources)} images could be segmented: {left_out[0]}")
    print(f"{done} of {len(sources)} in {seconds:.1f} s ({done / seconds:.1f} a second) are in {folder}")
    return 1 if left_out else 0


def _sources(paths: Iterable[Path]) -> Iterator[Source]:
    """All images, under names that differ even without their suffix."""
    from hrfamily_deploy.imaging import image_files

    taken: set[str] = set()
    for path in paths:
        for source in image_files.find(path.expanduser()):
            stem = source.stem
            while stem in taken:
                stem += "_"
            taken.add(stem)
            yield replace(source, stem=stem)


def _check(args: argparse.Namespace) -> None:
    from hrfamily_deploy.imaging import confidence

    for name, least in (("concurrency", 1), ("retries", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)} must be a whole number of at least {least}")
    if not args.timeout > 0:
        raise UserError(f"--timeout {args.timeout} must be a number of seconds above 0")
    flags.check_opacity(args)
    confidence.check(args.unsure)
