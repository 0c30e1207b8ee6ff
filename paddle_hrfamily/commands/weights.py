"""List the published weights that have a name; those that a pattern names can be fetched into the cache.

    hrfamily weights
    hrfamily weights 'hrnet_w48*'
    hrfamily weights 'hrnet_w48_ocr cityscapes' --fetch
    hrfamily weights cityscapes --json

A pattern is looked for in "NETWORK NAME". The names are what `pretrained` and --model_path take for that network:

    hrfamily val --config hrnet_w48_ocr_cityscapes.yml --model_path cityscapes

Weights of a backbone fill no head; those of a whole network also fill its backbone alone. --markdown prints what README
says of weights without a name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from paddle_hrfamily.commands import flags
from paddle_hrfamily.errors import UserError, unknown

if TYPE_CHECKING:
    from paddle_hrfamily.weights.published import CatalogueEntry

_HEADINGS = ("network", "names", "trained on", "published score", "by", "licence", "padding", "align_corners", "cached")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pattern", nargs="?", default="*", help='text or shell pattern in "NETWORK NAME" (default: all)')
    add("--fetch", action="store_true", help="download those that match and are not in the cache")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, with addresses, checksums and orders of classes")
    form.add_argument("--markdown", action="store_true", help="print what README says of weights without a name")
    flags.add_plugin(parser)


def run(args: argparse.Namespace) -> int:
    """Print what matches; with --fetch after it is there. Returns 1 if some of it could not be fetched."""
    from paddle_hrfamily import system

    system.require_paddle()
    from paddle_hrfamily import zoo  # noqa: F401  which registers all that has weights
    from paddle_hrfamily.integration import plugins
    from paddle_hrfamily.weights import readme
    from paddle_hrfamily.weights.published import catalogue

    plugins.load(args.plugin)
    if args.markdown:
        print(readme.missing())
        return 0
    entries = catalogue()
    found = [entry for entry in entries if _matches(entry, args.pattern)]
    if not found:
        raise unknown("weights", args.pattern, (f"{entry.network} {name}" for entry in entries for name in entry.names))
    failed = _fetch(found) if args.fetch else []
    if args.json:
        print(json.dumps([_content(entry) for entry in found], indent=2))
    else:
        _print_table(found)
    return int(bool(failed))


def _matches(entry: CatalogueEntry, pattern: str) -> bool:
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return any(
        fnmatchcase(text, wanted) for name in entry.names for text in (f"{entry.network} {name}", entry.network, name)
    )


def _fetch(entries: Sequence[CatalogueEntry]) -> list[str]:
    """Fetch each, whatever becomes of the others. Returns the addresses of those that could not be had."""
    from paddle_hrfamily.weights import fetch

    failed = []
    for entry in entries:
        weights = entry.weights
        try:
            path = fetch(weights.source, sha256=weights.sha256)
        except UserError as error:
            print(f"{entry.network} {entry.names[0]}: {error}", file=sys.stderr)
            failed.append(weights.source)
        else:
            print(f"{entry.network} {entry.names[0]}: {path}", file=sys.stderr)
    return failed


def _cached(entry: CatalogueEntry) -> Path | None:
    from paddle_hrfamily.weights.fetching import cached

    return cached(entry.weights.source)


def _content(entry: CatalogueEntry) -> dict[str, object]:
    path = _cached(entry)
    return {
        "network": entry.network,
        "whole": entry.whole,
        "names": list(entry.names),
        **asdict(entry.weights),
        "cached": None if path is None else str(path),
    }


def _print_table(entries: Sequence[CatalogueEntry]) -> None:
    rows = [_HEADINGS, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    count = sum(row[-1] == "yes" for row in rows)
    print(f"{len(entries)} files, {count} of them in the cache; --fetch gets those listed, --json has their addresses")


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    weights = entry.weights
    corners = "any" if weights.align_corners is None else str(weights.align_corners).lower()
    return (
        entry.network if entry.whole else f"{entry.network} (backbone)",
        ", ".join(entry.names),
        weights.data.title if weights.data else "",
        weights.score,
        weights.publisher,
        weights.licence,
        weights.padding or "any",
        corners,
        "no" if _cached(entry) is None else "yes",
    )
