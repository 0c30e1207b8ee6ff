"""Serve exported networks over HTTP as `serve` does, on Ray Serve: replicas of each, on one machine or on many.

    hrfamily ray output/exported --replicas 2 --port 8000
    hrfamily ray street=output/exported other/exported --replicas 1 --max-replicas 4
    hrfamily ray /shared/exported --address auto --host 0.0.0.0 --replicas 8 --threads 4

On many machines, `ray start` has made a cluster of them, and the folders are at the same place on each.
"""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import command_line, flags, server_flags

if TYPE_CHECKING:
    from ray.serve import Application

    from hrfamily_deploy.serving.replicas import Scale
    from hrfamily_deploy.serving.settings import Settings

_LIBRARIES = "'ray[serve]' fastapi-offline python-multipart prometheus-client"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    server_flags.add(parser, port="on every machine")
    add = parser.add_argument_group("replicas").add_argument
    add("--address", default="local", help="of a Ray cluster; auto: the one running here (default: a new one, here)")
    add("--replicas", type=int, default=1, help="of each model, at least (default: %(default)s)")
    add("--max-replicas", type=int, help="under load (default: --replicas)")
    add("--target-ongoing", type=float, help="requests in hand, for each replica there is (default: --max-batch)")
    add("--max-ongoing", type=int, help="requests that a replica takes (default: three times --max-batch)")
    add("--cpus", type=float, help="for each replica (default: --threads, or an equal share of the machine)")
    add("--gpus", type=float, help="for each replica; 0.5: two share one (default: 1 where networks run on GPUs)")
    add(
        "--fronts",
        type=int,
        default=1,
        help="processes that speak HTTP, each with the limits above (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    _check(args)
    with flags.requires("ray", _LIBRARIES):
        from hrfamily_deploy.serving import address, cluster
    settings = server_flags.settings(args)
    with address.bind(args.host, args.port) as listener:  # Ray would only log that it is taken
        port = listener.getsockname()[1]
    with cluster.connected(args.address) as cores:
        settings, scale = _scaled(args, settings, cores)
        try:
            with cluster.serving(settings, scale, args.host, port):
                address.announce(settings.folders, args.host, port)
                while True:
                    signal.pause()
        except KeyboardInterrupt:
            return 0


def build(arguments: Mapping[str, str]) -> Application:
    """All of it as one application, for Ray's own tools, which care for the cluster, addresses and the end.

    Their end is less gentle than the script's: what waits for a replica by then is not answered.

    Args:
        arguments: the script's, by the long names of its flags: {"folders": "street=/models/street", "max-batch": 8}.
            Without "threads", replicas share the CPU cores of the machine where this is called.
    """
    from hrfamily_deploy import cpu
    from hrfamily_deploy.serving import replicas

    given = [f"--{name}={value}" for name, value in arguments.items() if name != "folders"]
    args = command_line.parser("ray").parse_args([*arguments.get("folders", "").split(), *given])
    _check(args)
    settings, scale = _scaled(args, server_flags.settings(args), [cpu.read().cores])
    return replicas.front(settings, scale, *(replicas.model(name, settings, scale) for name in settings.folders))


def _scaled(args: argparse.Namespace, settings: Settings, cores: Sequence[float]) -> tuple[Settings, Scale]:
    """The scale, and the settings with the threads that each replica then has."""
    scale = _scale(args, len(settings.folders), cores)
    threads = settings.options.threads or max(1, int(scale.cpus))
    return replace(settings, options=replace(settings.options, threads=threads)), scale


def _scale(args: argparse.Namespace, models: int, cores: Sequence[float]) -> Scale:
    """What was asked for, else what is right for machines of so many CPU cores."""
    from hrfamily_deploy.runtime import hardware
    from hrfamily_deploy.serving.replicas import Scale
    from hrfamily_deploy.serving.settings import BATCHES_IN_HAND

    most = args.max_replicas or args.replicas
    share = min(sum(cores) / (most * models), max(cores))
    cpus = next(given for given in (args.cpus, args.threads, math.floor(share) or share) if given is not None)
    if args.address == "local" and cpus * most * models > sum(cores):
        raise UserError(
            f"{most * models} replicas with {cpus:g} CPU cores each are more than the {sum(cores):g} there "
            "are: give fewer --threads or --replicas, or --cpus for what Ray is to reckon with"
        )
    on_gpus = args.device != "cpu" and (args.device == "gpu" or bool(hardware.probe().gpus))
    return Scale(
        least=args.replicas,
        most=most,
        target=args.target_ongoing or args.max_batch,
        ongoing=args.max_ongoing or BATCHES_IN_HAND * args.max_batch,
        cpus=cpus,
        gpus=float(on_gpus) if args.gpus is None else args.gpus,
        fronts=args.fronts,
    )


def _check(args: argparse.Namespace) -> None:
    flags.check_above_zero(args, "replicas", "max_replicas", "max_ongoing", "target_ongoing", "fronts")
    for name in ("cpus", "gpus"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"--{name} {value} must be a number of 0 or more")
    if args.max_replicas is not None and args.max_replicas < args.replicas:
        raise UserError(f"--max-replicas {args.max_replicas} must be at least --replicas {args.replicas}")
    if args.device.startswith("gpu:"):
        raise UserError(f"--device {args.device}: Ray gives each replica its GPU; take gpu")
