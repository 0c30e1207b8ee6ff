"""A model as replicas on Ray Serve: each holds a network, and the engine in front sends jobs to whichever has room.

What passes between machines are files: a picture's on the way there, the answer's on the way back. Tensors would be
fifty times as much.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Union

import numpy as np
from errors import UserError
from fastapi import FastAPI
from PIL import Image
from predictor import Predictor
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from serving import application
from serving.engine import Answer, Description, Job
from serving.network import Network, Opened, Stopwatch
from serving.process import Died, NetworkProcess, Size
from serving.refusals import Refusal
from serving.worker import Settings

log = logging.getLogger("hrfamily")
FRONT = "front"
_RETRY = {"Retry-After": "1"}
_HEALTH_SECONDS = 1.0  # from check to check; three that fail in a row are the end of a replica
_FAREWELL_SECONDS = 0.5  # for answers on their way
_ANY_NUMBER = 1 << 20  # the application itself refuses what is too much
Result = Union[np.ndarray, Exception, None]  # None: it was not run
_QUIET = {"enable_access_log": False}  # the application writes lines of its own


@dataclass(frozen=True)
class Scale:
    """How many replicas there are, and what each of them takes.

    Attributes:
        least, most: of each model; between them Ray follows the load.
        target: requests in hand for each replica, which the load is measured by.
        ongoing: requests that a replica has in hand, at most; others wait in front.
        cpus, gpus: for each replica, as Ray counts them.
        fronts: processes of the HTTP interface.
    """

    least: int
    most: int
    target: float
    ongoing: int
    cpus: float
    gpus: float
    fronts: int


class Replica:
    """A network in a process of its own, of which Ray runs as many as it is told.

    Expected errors are returned, not raised: Ray would log each with a traceback.

    Args:
        name: of the model.
        load: makes the predictor.
        sizes: (height, width) to warm up with.
        pixels: of a batch, at most, unless it is a single picture.
        seconds: that a batch waits for further pictures.
        threads: for decoding and encoding.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Predictor],
        *,
        sizes: Sequence[Size],
        pixels: int,
        seconds: float,
        threads: int,
    ) -> None:
        _show_log()
        self._pixels = pixels
        self._process = NetworkProcess(load, sizes)
        self._network = Network(self._process.ends, name)
        self._pool = ThreadPoolExecutor(threads, "beside")
        self._thread = ThreadPoolExecutor(1, f"run {name}")
        self._is_lost = False
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._run.set_max_batch_size(self._network.description.batch)
        self._run.set_batch_wait_timeout_s(seconds)

    def describe(self) -> Description:
        return self._network.description

    async def segment(self, job: Job) -> Answer | UserError | Refusal:
        try:
            opened = await self._beside(self._network.open, job)
            # Ray closes a batch when its time is over, be the network busy or not: waiting here, outside, fills it up.
            await self._is_free.wait()
            result = await self._run(opened)
            if result is None:
                await asyncio.Event().wait()  # for this replica's end; then another one is asked
            if isinstance(result, Exception):
                return result
            return await self._beside(self._network.finish, job, opened, result)
        except UserError as error:
            return error

    @serve.batch
    async def _run(self, batch: list[Opened]) -> list[Result]:
        self._is_free.clear()
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._thread, self._results, batch)
        if self._is_lost:
            # Ray replaces what is gone at once, and has another replica asked what waits here.
            loop.call_later(_FAREWELL_SECONDS, os._exit, 1)
        else:
            self._is_free.set()
        return results

    def check_health(self) -> None:
        """Ray's question; raising is to say that this replica is to be replaced."""
        if not self._process.is_alive:
            raise RuntimeError(f"the process of {self._network.description.name} died")

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self._process.close()

    def _results(self, batch: list[Opened]) -> list[Result]:
        results: dict[int, Result] = {}
        for alike in self._of_one_shape(batch):
            if not self._is_lost:
                results |= zip(map(id, alike), self._tried(alike))
        return [results.get(id(item)) for item in batch]

    def _of_one_shape(self, batch: list[Opened]) -> Iterator[list[Opened]]:
        for shape in dict.fromkeys(item.shape for item in batch):
            alike = [item for item in batch if item.shape == shape]
            most = max(1, self._pixels // self._network.pixels(shape))
            yield from (alike[start : start + most] for start in range(0, len(alike), most))

    def _tried(self, alike: list[Opened]) -> Sequence[Result]:
        """A failure is that of this shape's pictures alone."""
        try:
            return self._network.timed(alike, self._process.run)
        except Died:
            log.error("the process of %s died", self._network.description.name)
            self._is_lost = True
            message = "the network's process died of this picture, of one beside it, or by accident"
            return [Refusal(503, "network_died", message, _RETRY)] * len(alike)
        except Exception as error:
            log.exception("%s failed", self._network.description.name)
            return [error] * len(alike)

    def _beside(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


class ReplicatedEngine:
    """See `serving.engine.Engine`. What a replica had in hand when it died is asked of another one, once."""

    def __init__(self, name: str, replicas: DeploymentHandle) -> None:
        self.name, self._replicas = name, replicas

    async def start(self) -> Description:
        return await self._replicas.describe.remote()

    async def segment(self, job: Job) -> Answer:
        watch = Stopwatch()
        try:
            outcome = await self._replicas.segment.remote(job)
        except RayActorError:
            log.warning("a replica of %s died; another one is asked", self.name)
            outcome = await self._asked_again(job)
        if isinstance(outcome, Exception):
            raise outcome
        watch.lap("queue")  # less what the replica took: waiting for it, and the way there and back
        there = sum(outcome.milliseconds.values())
        queue = max(0.0, watch.milliseconds["queue"] - there)
        return replace(outcome, milliseconds={"queue": queue, **outcome.milliseconds})

    async def close(self) -> None:
        """Ray ends the replicas."""

    async def _asked_again(self, job: Job) -> Answer | UserError | Refusal:
        try:
            return await self._replicas.segment.remote(job)
        except RayActorError:
            return Refusal(503, "replica_died", "two replicas died with this picture in hand", _RETRY)


def application_of(name: str) -> str:
    """What Ray calls the application that is this model."""
    return f"model-{name}"


def model(name: str, settings: Settings, scale: Scale) -> Application:
    """Its replicas."""
    load = partial(Predictor, settings.folders[name], **settings.predictor)
    scaling = {"min_replicas": scale.least, "max_replicas": scale.most, "target_ongoing_requests": scale.target}
    deployment = serve.deployment(
        Replica,
        name=name,
        num_replicas=scale.least if scale.least == scale.most else "auto",
        autoscaling_config=None if scale.least == scale.most else scaling,
        max_ongoing_requests=scale.ongoing,
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        health_check_period_s=_HEALTH_SECONDS,
        graceful_shutdown_timeout_s=settings.drain_seconds,
        logging_config=_QUIET,
    )
    return deployment.bind(
        name,
        load,
        sizes=settings.sizes[name],
        pixels=settings.limits.pixels,
        seconds=settings.batch_seconds,
        threads=settings.threads,
    )


def front(settings: Settings, scale: Scale, *models: Application) -> Application:
    """The HTTP interface of models that run as applications of their own, or as parts of this one."""

    def build() -> FastAPI:
        _show_log()
        engines = {name: ReplicatedEngine(name, handle(name)) for name in settings.folders}
        return application.create(engines, settings.limits, api_key=settings.api_key)

    def handle(name: str) -> DeploymentHandle:
        return serve.get_deployment_handle(name) if models else serve.get_app_handle(application_of(name))

    deployment = serve.deployment(
        serve.ingress(build)(),
        name=FRONT,
        num_replicas=scale.fronts,
        max_ongoing_requests=_ANY_NUMBER,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.drain_seconds,
        logging_config=_QUIET,
    )
    return deployment.bind(*models)


def _show_log() -> None:
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pixels are limited on purpose, and to fewer
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
