"""The texts of the pages at /docs that are not in the code itself."""

from __future__ import annotations

from typing import Any

from hrfamily_deploy.serving.body import FIELD, FORM, RAW
from hrfamily_deploy.serving.outputs import OUTPUTS
from hrfamily_deploy.serving.outputs.base import BINARY, Schema

DESCRIPTION = """
Segments images: each pixel gets the number of its class. JPEG, PNG, WebP, BMP and TIFF are taken.

```bash
curl --data-binary @street.jpg -H 'Content-Type: image/jpeg' -o labels.png 'http://127.0.0.1:8000/v1/models/NAME/segment'
curl -F image=@street.jpg -o overlay.jpg 'http://127.0.0.1:8000/v1/models/NAME/segment?output=overlay&opacity=0.5'
curl -F image=@street.jpg 'http://127.0.0.1:8000/v1/models/NAME/segment?output=json'
curl -F image=@street.jpg -o labels.png 'http://127.0.0.1:8000/v1/models/NAME/segment?unsure=0.6'
curl -F image=@street.jpg -o entropy.png 'http://127.0.0.1:8000/v1/models/NAME/segment?output=confidence&measure=entropy'
curl http://127.0.0.1:8000/v1/models
curl -H 'Authorization: Bearer KEY' http://127.0.0.1:8000/metrics        # where the server has a key
```

An error is `{"error": {"reason": "too_large", "message": "…"}}`: the reason for programs, the message for people.
"""

TAGS = [{"name": "models"}, {"name": "state", "description": "of the server"}]

_IMAGE = {"schema": BINARY}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "message": {"type": "string"}},
            "required": ["reason", "message"],
        }
    },
    "required": ["error"],
}
_ERRORS = {
    401: "no key, or a wrong one",
    404: "no such model",
    408: "the body came too slowly",
    413: "more bytes or pixels than are taken",
    415: "not an image of a format that is taken, or an unknown Content-Type",
    422: "an image that is damaged or does not fit the model, a malformed form, or a bad parameter",
    429: "the queue is full; try again after Retry-After seconds",
    503: "models are being loaded, or the server is about to stop",
    504: "no answer in time",
}


def _answers() -> dict[str, Any]:
    """Media type -> what an answer of that type is, of all outputs."""
    schemas: dict[str, list[Schema]] = {}
    for output in OUTPUTS.values():
        for media_type in output.media_types:
            known = schemas.setdefault(media_type, [])
            known += [output.schema] if output.schema not in known else []
    return {name: {"schema": found[0] if len(found) == 1 else {"oneOf": found}} for name, found in schemas.items()}


SEGMENT: dict[str, Any] = {
    "responses": {
        200: {
            "description": " ".join(f"{output.name}: {output.description}." for output in OUTPUTS.values())
            + " The header Server-Timing has the stages.",
            "content": _answers(),
        },
        **{
            status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
            for status, text in _ERRORS.items()
        },
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                **dict.fromkeys(RAW, _IMAGE),
                FORM: {
                    "schema": {
                        "type": "object",
                        "properties": {FIELD: BINARY},
                        "required": [FIELD],
                    }
                },
            },
        }
    },
}
