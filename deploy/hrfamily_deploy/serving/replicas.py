"""A model as replicas on Ray Serve: each holds a network, and the engine in front sends requests to one with room.

Machines send each other files: an image's on the way there, the answer's on the way back. Tensors would be fifty times
as much.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np
from fastapi import FastAPI
from PIL import Image
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.serving import application
from hrfamily_deploy.serving.engine import Description, SegmentRequest, SegmentResponse
from hrfamily_deploy.serving.network import DecodedImage, Network, Stopwatch
from hrfamily_deploy.serving.process import NetworkDied
from hrfamily_deploy.serving.refusals import RETRY, Refusal, network_died
from hrfamily_deploy.serving.settings import ModelSettings, Settings

log = logging.getLogger("hrfamily")
FRONT = "front"
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
        threads: for decoding and encoding.
    """

    def __init__(self, model: ModelSettings, threads: int) -> None:
        _show_log()
        self._network = Network(model)
        self._pool = ThreadPoolExecutor(threads, "beside")
        self._thread = ThreadPoolExecutor(1, f"run {model.name}")
        self._is_lost = False
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._run.set_max_batch_size(self._network.description.batch)
        self._run.set_batch_wait_timeout_s(model.batch_seconds)

    def describe(self) -> Description:
        return self._network.description

    async def segment(self, request: SegmentRequest) -> SegmentResponse | Exception:
        try:
            image = await self._beside(self._network.decode, request)
            # Ray closes a batch when its time is over, be the network busy or not: waiting here, outside, fills it up.
            await self._is_free.wait()
            result = await self._run(image)
            if result is None:
                await asyncio.Event().wait()  # for this replica's end; then another one is asked
            if isinstance(result, Exception):
                return result
            return await self._beside(self._network.respond, request, image, result)
        except UserError as error:
            return error

    @serve.batch
    async def _run(self, batch: list[DecodedImage]) -> list[Result]:
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
        if not self._network.is_alive:
            raise RuntimeError(f"the process of {self._network.description.name} died")

    def __del__(self) -> None:
        if hasattr(self, "_network"):
            self._network.close()

    def _results(self, batch: list[DecodedImage]) -> list[Result]:
        results: dict[int, Result] = {}
        for alike in self._of_one_shape(batch):
            if not self._is_lost:
                results |= zip(map(id, alike), self._tried(alike))
        return [results.get(id(item)) for item in batch]

    def _of_one_shape(self, batch: list[DecodedImage]) -> Iterator[list[DecodedImage]]:
        for shape in dict.fromkeys(item.shape for item in batch):
            alike = [item for item in batch if item.shape == shape]
            most = self._network.most(shape)
            yield from (alike[start : start + most] for start in range(0, len(alike), most))

    def _tried(self, alike: list[DecodedImage]) -> Sequence[Result]:
        """A failure is that of this shape's images alone."""
        try:
            return self._network.run(alike)
        except NetworkDied:
            log.error("the process of %s died", self._network.description.name)
            self._is_lost = True
            return [network_died()] * len(alike)
        except Exception as error:
            log.exception("%s failed", self._network.description.name)
            return [error] * len(alike)

    def _beside(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


class ReplicatedEngine:
    """See `serving.engine.Engine`. What a replica had in hand when it died is asked of another one, once."""

    def __init__(self, name: str, replicas: DeploymentHandle) -> None:
        self.name, self._replicas = name, replicas

    async def start(self) -> Description:
        return await self._replicas.describe.remote()

    async def segment(self, request: SegmentRequest) -> SegmentResponse:
        watch = Stopwatch()
        try:
            outcome = await self._replicas.segment.remote(request)
        except RayActorError:
            log.warning("a replica of %s died; another one is asked", self.name)
            outcome = await self._asked_again(request)
        if isinstance(outcome, Exception):
            raise outcome
        watch.lap("queue")  # less what the replica took: waiting for it, and the way there and back
        there = sum(outcome.milliseconds.values())
        queue = max(0.0, watch.milliseconds["queue"] - there)
        return replace(outcome, milliseconds={"queue": queue, **outcome.milliseconds})

    async def close(self) -> None:
        """Ray ends the replicas."""

    async def _asked_again(self, request: SegmentRequest) -> SegmentResponse | UserError | Refusal:
        try:
            return await self._replicas.segment.remote(request)
        except RayActorError:
            return Refusal(503, "replica_died", "two replicas died with this image in hand", RETRY)


def application_of(name: str) -> str:
    """What Ray calls the application that is this model."""
    return f"model-{name}"


def model(name: str, settings: Settings, scale: Scale) -> Application:
    """Its replicas."""
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
    return deployment.bind(settings.model(name), settings.threads)


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
