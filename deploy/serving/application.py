"""The HTTP interface, of whatever runs the models."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from serving.engine import Engine
from serving.limits import Limits
from serving.metrics import Metrics


def create(
    models: Mapping[str, Engine],
    limits: Limits = Limits(),  # noqa: B008  frozen
    *,
    api_key: str | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """An application that starts its models when it starts, and closes them at its end.

    Args:
        models: by the name they have in addresses.
        limits: of one process.
        api_key: what requests must carry, but those for the page, the documentation, /healthz and /readyz.
        metrics: shared with the engines, which count their batches there.
    """
    raise NotImplementedError
