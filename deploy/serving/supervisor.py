"""The process above: it binds the address, starts the workers, replaces those that die, and ends them in time."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from functools import partial

import h11
from errors import UserError
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from serving import worker
from serving.metrics import FOLDER
from serving.refusals import Refusal
from serving.worker import Settings

HEAD_SECONDS = 10.0
_BACKLOG = 512
_HUNG_SECONDS = 120  # a process that answers nothing for so long is replaced; loading may take a while
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


class Protocol(H11Protocol):
    """HTTP/1.1, with errors of malformed requests in JSON as all others, and a limit of time for requests' heads."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._look, None)

    def _look(self, seen: RequestResponseCycle | None) -> None:
        """Close a connection that since the last look has got no further than to wait for a request."""
        if self.transport.is_closing():
            return
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is seen:
            self.transport.close()
        else:
            self.loop.call_later(HEAD_SECONDS, self._look, self.cycle if is_waiting else None)

    def send_400_response(self, msg: str) -> None:
        answer = Refusal(400, "bad_request", msg, {"Connection": "close"}).response()
        for event in (
            h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()


class Supervisor(Multiprocess):
    """uvicorn's, which also ends processes that do not end themselves, and lets go of the address when it ends."""

    def __init__(self, config: Config, listener: socket.socket, seconds: float) -> None:
        super().__init__(config, [listener])
        self._seconds = seconds
        self.killed = 0

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def join_all(self) -> None:
        until = time.monotonic() + self._seconds
        for process in self.processes:
            process.process.join(max(0, until - time.monotonic()))
            if process.process.is_alive():
                process.kill()
                self.killed += 1
        super().join_all()

    @property
    def failed(self) -> bool:
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)


def serve(settings: Settings, host: str, port: int, workers: int) -> int:
    """Returns the exit status: 0 after a signal, 1 if work had to be broken off, 2 if the models cannot be loaded.

    Raises:
        UserError: the address cannot be had.
    """
    listener = bind(host, port)
    with tempfile.TemporaryDirectory(prefix="hrfamily-metrics-") as folder:
        os.environ[FOLDER] = folder
        config = Config(
            partial(worker.build, settings),
            factory=True,
            workers=workers,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=_LOG,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round((1 - worker.DRAINING_PART) * settings.drain_seconds)),
            timeout_worker_healthcheck=_HUNG_SECONDS,
        )
        supervisor = Supervisor(config, listener, settings.drain_seconds)
        shown = f"[{host}]" if ":" in host else host
        print(f"serving {', '.join(settings.folders)} on http://{shown}:{listener.getsockname()[1]}", flush=True)
        supervisor.run()
    return 2 if supervisor.failed else int(supervisor.killed > 0)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that processes started from here inherit."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise UserError(f"{host}:{port} cannot be served on ({reason}); choose another --host or --port") from None
    listener.set_inheritable(True)
    return listener
