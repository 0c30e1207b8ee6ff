"""A server on a Ray cluster, from its start to its end: one application for each model, and one in front of them."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import serve

from hrfamily_deploy import cpu
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.serving import replicas
from hrfamily_deploy.serving.replicas import Scale
from hrfamily_deploy.serving.settings import Settings

_PACKAGE = Path(__file__).resolve().parents[1]


@contextmanager
def connected(address: str) -> Iterator[list[float]]:
    """CPU cores of each machine of a cluster that this process is connected to, and whose machines get this package.

    SIGTERM is then an interruption, as Ctrl-C is.

    Args:
        address: as Ray takes it; "local" is a new cluster of this machine, which ends at the end.

    Raises:
        UserError: there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported unless the user asks for it
    new = {"num_cpus": cpu.read().cores, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, runtime_env={"py_modules": [str(_PACKAGE)]}, **new)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--address {address}: no such Ray cluster: {' '.join(str(error).split())[:300]}") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


@contextmanager
def serving(settings: Settings, scale: Scale, host: str, port: int) -> Iterator[None]:
    """Within this, requests are answered.

    At the end the front goes first, and answers what it has in hand; only then do the models that it needs for that.

    Raises:
        UserError: a model cannot be started.
    """
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    try:
        for name in settings.folders:
            _start_model(name, settings, scale)
        serve.run(replicas.front(settings, scale), name=replicas.FRONT, route_prefix="/")
        yield
    finally:
        for application in (replicas.FRONT, *map(replicas.application_of, settings.folders)):
            serve.delete(application)


def _start_model(name: str, settings: Settings, scale: Scale) -> None:
    application = replicas.application_of(name)
    try:
        serve.run(replicas.model(name, settings, scale), name=application, route_prefix=None)
    except RuntimeError:
        (deployment,) = serve.status().applications[application].deployments.values()
        raise UserError(f"{name} cannot be started: {_last_word(deployment.message)}") from None


def _last_word(message: str) -> str:
    """The part of a traceback, and of what Ray says about it, that is meant for a person; else its end."""
    meant = re.findall(r"UserError: (.+)", message)
    return meant[-1] if meant else " ".join(message.split())[-300:]
