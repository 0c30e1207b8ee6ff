"""The HTTP interface, of whatever runs the models."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from hrfamily_deploy.imaging.confidence import MEASURES
from hrfamily_deploy.serving import body
from hrfamily_deploy.serving import limits as bounds
from hrfamily_deploy.serving.documentation import DESCRIPTION, SEGMENT, TAGS
from hrfamily_deploy.serving.engine import Description, Engine, SegmentRequest
from hrfamily_deploy.serving.limits import Limits
from hrfamily_deploy.serving.metrics import Metrics
from hrfamily_deploy.serving.middleware import DrainRequestBody, Records
from hrfamily_deploy.serving.outputs import OUTPUTS
from hrfamily_deploy.serving.refusals import Refusal
from hrfamily_deploy.serving.service import Service

PAGE = Path(__file__).with_name("page.html")
_PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src 'self' blob: data:",
        "connect-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_UNSURE = "pixels of less maximum probability than this, or of more entropy, are unsure: 255 in label maps"
_REASONS = {404: "no_such_address", 405: "wrong_method"}

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create(
    models: Mapping[str, Engine],
    limits: Limits = Limits(),  # noqa: B008  frozen
    *,
    api_key: str | None = None,
    metrics: Metrics | None = None,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """An application that starts its models when it starts, and closes them at its end.

    Args:
        models: by the name they have in addresses.
        limits: of this process.
        api_key: requests must carry it, except those for the page, the documentation, /healthz and /readyz.
        metrics: the engines count their batches there, too.
        lifespan: entered before the first request and left after the last. It must enter `app.state.service.running()`,
            which loads the models; None for that alone.
    """
    service = Service(models, limits, metrics or Metrics())
    app = FastAPIOffline(
        title="Segmentation",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # else the page asks another host
        lifespan=lifespan or _running,
    )
    app.state.service, app.state.api_key = service, api_key
    app.include_router(_open)
    app.include_router(_guarded)
    app.add_middleware(DrainRequestBody)
    app.add_middleware(Records, count=service.metrics.request)
    app.add_exception_handler(Refusal, lambda _, error: error.response())
    app.add_exception_handler(RequestValidationError, lambda _, error: _invalid(error).response())
    app.add_exception_handler(HTTPException, lambda _, error: _http(error).response())
    return app


@contextlib.asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.service.running():
        yield


def _service(request: Request) -> Service:
    return request.app.state.service


# FastAPI evaluates annotations, and Python 3.9 cannot evaluate `X | None`.
Bearer = Annotated[Optional[HTTPAuthorizationCredentials], Depends(HTTPBearer(auto_error=False))]
Header = Annotated[Optional[str], Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]


def _check_key(request: Request, bearer: Bearer, header: Header) -> None:
    expected = request.app.state.api_key
    given = bearer.credentials if bearer else header or ""
    if expected and not hmac.compare_digest(given.encode(), expected.encode()):
        message = "send the key as Authorization: Bearer KEY, or as X-API-Key: KEY"
        raise Refusal(401, "no_key", message, {"WWW-Authenticate": "Bearer"})


_open = APIRouter()
_guarded = APIRouter(dependencies=[Depends(_check_key)])
Threshold = Annotated[Optional[float], Query(ge=0, le=1, allow_inf_nan=False, description=_UNSURE)]
TheService = Annotated[Service, Depends(_service)]
if TYPE_CHECKING:
    OutputName = str
    MeasureName = str
else:
    OutputName = Literal[tuple(OUTPUTS)]  # FastAPI checks it, and documents the names
    MeasureName = Literal[MEASURES]


@_open.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    return HTMLResponse(PAGE.read_bytes(), headers={"Content-Security-Policy": _PAGE_POLICY})


@_open.get("/healthz", tags=["state"])
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@_open.get("/readyz", tags=["state"])
async def readyz(service: TheService) -> dict[str, str]:
    """Every model is warmed up, and the server is not about to stop; 503 otherwise."""
    service.check_ready()
    return {"status": "ready"}


@_guarded.get("/metrics", tags=["state"])
def metrics(service: TheService) -> Response:
    """Metrics of all processes together, for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@_guarded.get("/v1/models", tags=["models"])
async def models(service: TheService) -> dict[str, Any]:
    """The models: their classes, how they are run, and the limits of requests."""
    return {"models": [_described(model, service.limits) for model in service.check_ready()]}


@_guarded.post("/v1/models/{name}/segment", tags=["models"], response_class=Response, **SEGMENT)
async def segment(
    request: Request,
    service: TheService,
    name: str,
    output: Annotated[OutputName, Query(description="what to answer with")] = "labels",
    opacity: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="of an overlay's colours")] = 0.4,
    measure: Annotated[MeasureName, Query(description="of confidence")] = MEASURES[0],
    unsure: Threshold = None,
) -> Response:
    """Segment an image: its label map, its classes drawn over it, their shares, or how sure the network is."""
    model = service.model(name)
    request.state.note.model = name
    with service.upload(model):
        data = await body.read(request, service.limits)
        await asyncio.get_running_loop().run_in_executor(None, bounds.check, data, service.limits)
    media_type = OUTPUTS[output].media_type(request.headers.get("accept", ""))
    asked = SegmentRequest(data, output, opacity, media_type, measure, unsure)
    response = await service.segment(model, asked, _gone(request))
    timing = ", ".join(f"{stage};dur={value:.2f}" for stage, value in response.milliseconds.items())
    headers = {"Server-Timing": timing, "Cache-Control": "no-store"}
    return Response(response.content, media_type=response.media_type, headers=headers)


async def _gone(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _described(model: Description, limits: Limits) -> dict[str, Any]:
    classes = [
        {"id": index, "name": name, "color": list(color)}
        for index, (name, color) in enumerate(zip(model.class_names, model.class_colors))
    ]
    return {
        "name": model.name,
        "classes": classes,
        "input_shape": list(model.input_shape),
        "backend": model.backend,
        "precision": model.precision,
        "device": model.device,
        "batch": model.batch,
        "confidence": model.has_confidence,
        "limits": {
            "body_bytes": limits.body,
            "body_seconds": limits.body_seconds,
            "pixels": limits.pixels,
            "aspect": limits.aspect,
            "queue": limits.queue,
            "seconds": limits.seconds,
            "formats": list(bounds.FORMATS),
        },
    }


def _invalid(error: RequestValidationError) -> Refusal:
    first = error.errors()[0]
    return Refusal(422, "bad_parameter", f"{first['loc'][-1]}: {first['msg']}")


def _http(error: HTTPException) -> Refusal:
    return Refusal(error.status_code, _REASONS.get(error.status_code, "refused"), str(error.detail), error.headers)
