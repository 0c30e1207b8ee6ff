"""The address of a server: taking it, and saying that it is served there."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from hrfamily_deploy.errors import UserError

_BACKLOG = 512


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that processes started from here inherit.

    Raises:
        UserError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise UserError(f"{host}:{port} cannot be served on ({reason}); choose another --host or --port") from None


def announce(models: Iterable[str], host: str, port: int) -> None:
    """Print the line that says where the models are."""
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {', '.join(models)} on http://{shown}:{port}", flush=True)
