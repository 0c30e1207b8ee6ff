"""Serve exported networks over HTTP, with a page for the browser at /, and documentation at /docs.

    hrfamily serve output/exported
    hrfamily serve street=output/exported other/exported --backend auto --max-batch 8 --workers 2
    curl -F image=@street.jpg -o labels.png http://127.0.0.1:8000/v1/models/street/segment

After SIGTERM or Ctrl-C it answers the requests in hand. The exit status is then 0, or 1 where that took too long; it is
2 for what cannot be done at all.
"""

from __future__ import annotations

import argparse

from hrfamily_deploy.scripts import flags, server_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    server_flags.add(parser, port="0 for any that is free")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes, each with models of its own (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    flags.check_counts(args, "workers")
    settings = server_flags.settings(args)
    with flags.requires("serve", server_flags.LIBRARIES):
        from hrfamily_deploy.serving import supervisor
    return supervisor.serve(settings, args.host, args.port, args.workers)
