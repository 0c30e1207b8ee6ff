"""Serve exported networks over HTTP as serve.py does, on Ray Serve: replicas of each, on one machine or on many.

Examples:
    python deploy/ray_app.py output/exported --replicas 2 --port 8000
    python deploy/ray_app.py street=output/exported other/exported --replicas 1 --max-replicas 4
    python deploy/ray_app.py /shared/exported --address auto --host 0.0.0.0 --replicas 8 --threads 4

On many machines, `ray start` has made a cluster of them, and the folders are at the same place on each.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import errors
import machine
import serve
from errors import UserError

if TYPE_CHECKING:
    from ray.serve import Application
    from serving.replicas import Scale
    from serving.worker import Settings

_LIBRARIES = "'ray[serve]' fastapi-offline python-multipart prometheus-client"
_BATCHES_IN_HAND = 3  # one being run, one being prepared and one being encoded


def parser() -> argparse.ArgumentParser:
    summary, _, examples = __doc__.partition("\n\n")
    made = errors.Parser(
        prog="ray_app.py", description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("folders", nargs="+", metavar="[NAME=]FOLDER", help="what `hrfamily export` wrote; NAME: else the folder's")
    add("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=int, default=8000, help="on every machine (default: %(default)s)")
    add("--address", default="local", help="of a Ray cluster; auto: the one running here (default: a new one, here)")
    _add_scale(made)
    serve.add_models(made)
    return made


def _add_scale(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("replicas").add_argument
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
        help="processes that speak HTTP, each with the limits below (default: %(default)s)",
    )


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    _check(args)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a server that nobody asked tells nobody that it runs
    ray, replicas, supervisor = (
        serve.load(module, "ray", _LIBRARIES) for module in ("ray", "serving.replicas", "serving.supervisor")
    )
    settings = serve.settings(args)
    with supervisor.bind(args.host, args.port) as listener:  # Ray would only log that it is taken
        port = listener.getsockname()[1]
    with _connected(ray, args.address):
        processors = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        scale = _scale(args, len(settings.folders), processors)
        settings = _with_threads(settings, scale)
        shown = f"[{args.host}]" if ":" in args.host else args.host
        try:
            _start(replicas, settings, scale, args.host, port)
            print(f"serving {', '.join(settings.folders)} on http://{shown}:{port}", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(replicas, settings)


def build(arguments: dict[str, str]) -> Application:
    """All of it as one application, for Ray's own tools, which care for the cluster, addresses and the end.

    Their end is less gentle than the script's: what waits for a replica by then is not answered.

    Args:
        arguments: the script's, by the long names of its flags: {"folders": "street=/models/street", "max-batch": 8}.
            Without "threads", replicas share the processor cores of the machine where this is called.
    """
    from serving import replicas

    flags = [f"--{name}={value}" for name, value in arguments.items() if name != "folders"]
    args = parser().parse_args([*arguments.get("folders", "").split(), *flags])
    _check(args)
    settings = serve.settings(args)
    scale = _scale(args, len(settings.folders), [machine.probe().cores])
    settings = _with_threads(settings, scale)
    models = [replicas.model(name, settings, scale) for name in settings.folders]
    return replicas.front(settings, scale, *models)


@contextmanager
def _connected(ray: ModuleType, address: str) -> Iterator[None]:
    """To a cluster, whose machines get this folder's code; a new one ends at the end."""
    new = {"num_cpus": machine.probe().cores, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, runtime_env={"working_dir": str(Path(__file__).resolve().parent)}, **new)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--address {address}: no such Ray cluster: {' '.join(str(error).split())[:300]}") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        ray.shutdown()


def _scale(args: argparse.Namespace, models: int, processors: list[float]) -> Scale:
    """What was asked for, else what is right for machines of so many processor cores."""
    from serving.replicas import Scale

    most = args.max_replicas or args.replicas
    share = min(sum(processors) / (most * models), max(processors))
    cpus = next(given for given in (args.cpus, args.threads, math.floor(share) or share) if given is not None)
    if args.address == "local" and cpus * most * models > sum(processors):
        raise UserError(
            f"{most * models} replicas with {cpus:g} processor cores each are more than the {sum(processors):g} there "
            "are: give fewer --threads or --replicas, or --cpus for what Ray is to reckon with"
        )
    on_gpus = args.device != "cpu" and (args.device == "gpu" or bool(machine.probe().gpus))
    return Scale(
        least=args.replicas,
        most=most,
        target=args.target_ongoing or args.max_batch,
        ongoing=args.max_ongoing or _BATCHES_IN_HAND * args.max_batch,
        cpus=cpus,
        gpus=float(on_gpus) if args.gpus is None else args.gpus,
        fronts=args.fronts,
    )


def _with_threads(settings: Settings, scale: Scale) -> Settings:
    threads = settings.predictor["threads"] or max(1, int(scale.cpus))
    return replace(settings, predictor={**settings.predictor, "threads": threads})


def _start(replicas: ModuleType, settings: Settings, scale: Scale, host: str, port: int) -> None:
    from ray import serve as ray_serve

    ray_serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    for name in settings.folders:
        application = replicas.application_of(name)
        try:
            ray_serve.run(replicas.model(name, settings, scale), name=application, route_prefix=None)
        except RuntimeError:
            (deployment,) = ray_serve.status().applications[application].deployments.values()
            raise UserError(f"{name} cannot be started: {_last_word(deployment.message)}") from None
    ray_serve.run(replicas.front(settings, scale), name=replicas.FRONT, route_prefix="/")


def _last_word(message: str) -> str:
    """Of a traceback and what Ray says about it: what is meant for a person, or else its end."""
    meant = re.findall(r"UserError: (.+)", message)
    return meant[-1] if meant else " ".join(message.split())[-300:]


def _end(replicas: ModuleType, settings: Settings) -> None:
    """The front goes first, and answers what it has in hand; only then do the models that it needs for that."""
    from ray import serve as ray_serve

    for application in (replicas.FRONT, *map(replicas.application_of, settings.folders)):
        ray_serve.delete(application)


def _check(args: argparse.Namespace) -> None:
    for name in ("replicas", "max_replicas", "max_ongoing", "target_ongoing", "fronts"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value} must be a number above 0")
    for name in ("cpus", "gpus"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"--{name} {value} must be a number of 0 or more")
    if args.max_replicas is not None and args.max_replicas < args.replicas:
        raise UserError(f"--max-replicas {args.max_replicas} must be at least --replicas {args.replicas}")
    if args.device.startswith("gpu:"):
        raise UserError(f"--device {args.device}: Ray gives each replica its GPU; take gpu")


if __name__ == "__main__":
    sys.exit(errors.run(main))
