"""A worker, one of the server's processes. It answers while it still loads the models, and finishes what it has in hand
before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from fastapi import FastAPI
from PIL import Image
from uvicorn import Config, Server

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.serving import application
from hrfamily_deploy.serving.local import LocalEngine
from hrfamily_deploy.serving.metrics import Metrics
from hrfamily_deploy.serving.protocol import Protocol
from hrfamily_deploy.serving.service import Service
from hrfamily_deploy.serving.settings import Settings

log = logging.getLogger("hrfamily")
LOADING_FAILED = 3  # exit status
_LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(message)s"},
        "full": {"format": "%(asctime)s %(levelname)s %(process)d %(message)s"},
    },
    "handlers": {
        "out": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"},
        "err": {"class": "logging.StreamHandler", "formatter": "full", "stream": "ext://sys.stderr"},
    },
    "loggers": {
        "hrfamily": {"handlers": ["err"], "level": "INFO", "propagate": False},
        "hrfamily.access": {"handlers": ["out"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["err"], "level": "WARNING", "propagate": False},
    },
}
_LOOK_SECONDS = 0.02
_DRAINING_PART = 0.8  # of --drain-seconds; the rest is for responses that are being sent


def work(settings: Settings, listener: socket.socket, loads_first: bool = False) -> None:
    """What the process does, until SIGTERM. Ctrl-C reaches it, too, but the main process answers that by a SIGTERM.

    Args:
        loads_first: take no connections until the models are loaded; meanwhile other workers take them.
    """
    configure_logging()
    config = Config(
        build(settings, loads_first),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round((1 - _DRAINING_PART) * settings.drain_seconds)),
    )
    Server(config).run([listener])


def configure_logging() -> None:
    """Log a line for each request to the standard output, and the rest to the error output."""
    logging.config.dictConfig(_LOG)


def build(settings: Settings, loads_first: bool = False) -> FastAPI:
    """The worker's application."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pixels are limited on purpose, and to fewer
    metrics = Metrics()
    pool = ThreadPoolExecutor(settings.threads, "beside")
    models = {name: LocalEngine(settings.model(name), pool, metrics) for name in settings.folders}
    lifespan = partial(_lifespan, seconds=_DRAINING_PART * settings.drain_seconds, loads_first=loads_first)
    return application.create(models, settings.limits, api_key=settings.api_key, metrics=metrics, lifespan=lifespan)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI, seconds: float, loads_first: bool) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.running() as loading:
        loading.add_done_callback(_report)
        _drain_before_end(service, seconds)
        while loads_first and not (loading.done() or service.is_draining):
            await asyncio.sleep(_LOOK_SECONDS)
        yield


def _report(loading: asyncio.Task[None]) -> None:
    """End the process if loading failed. By its exit status the main process knows that a new one would fail, too."""
    if loading.cancelled():
        return
    error = loading.exception()
    if error is None:
        log.info("ready, process %d", os.getpid())
        return
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr, flush=True)
    else:
        log.error("models cannot be loaded", exc_info=error)
    os._exit(LOADING_FAILED)


def _drain_before_end(service: Service, seconds: float) -> None:
    """Drain on SIGTERM, before uvicorn does what it does then; and also when the main process has ended."""
    loop = asyncio.get_running_loop()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    main_process = multiprocessing.parent_process()
    tasks: list[asyncio.Task[None]] = []  # the loop itself does not keep them

    def end() -> None:
        if callable(on_sigterm):
            on_sigterm(signal.SIGTERM, None)

    def drain() -> None:
        if not tasks:
            tasks.append(loop.create_task(_drain(service, seconds, end)))

    def drain_orphaned(sentinel: int) -> None:
        loop.remove_reader(sentinel)
        drain()

    loop.add_signal_handler(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if main_process:
        loop.add_reader(main_process.sentinel, drain_orphaned, main_process.sentinel)


async def _drain(service: Service, seconds: float, end: Callable[[], None]) -> None:
    service.drain()
    until = time.monotonic() + seconds
    while not service.is_idle and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
    end()
