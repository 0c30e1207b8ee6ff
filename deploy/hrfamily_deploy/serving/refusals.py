"""A request that is refused, and the response that says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import JSONResponse

RETRY = {"Retry-After": "1"}  # header of what a client may send again after a second


class Refusal(Exception):
    """Ends a request with an error.

    Args:
        status: of HTTP.
        reason: a word for programs, such as "too_many_pixels".
        message: a sentence for people. It names nothing of the file system.
        headers: further ones.
    """

    def __init__(self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason, message, dict(headers or {}))  # the arguments again, so that it can be pickled
        self.status, self.reason, self.message, self.headers = status, reason, message, dict(headers or {})

    def response(self) -> JSONResponse:
        from starlette.responses import JSONResponse  # not above: limits and settings need no web framework

        content = {"error": {"reason": self.reason, "message": self.message}}
        return JSONResponse(content, self.status, self.headers)


def network_died() -> Refusal:
    """For the images of a batch that the network's process did not survive."""
    message = "the network's process died of this image, of one beside it, or by accident"
    return Refusal(503, "network_died", message, RETRY)
