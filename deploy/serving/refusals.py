"""A request that is not served, and the answer that says why."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse


class Refusal(Exception):
    """Ends a request.

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
        content = {"error": {"reason": self.reason, "message": self.message}}
        return JSONResponse(content, self.status, self.headers)
