"""What the pages at /docs say beside the code."""

from __future__ import annotations

from typing import Any

from serving.body import FIELD, FORM, RAW

DESCRIPTION = """
Segments pictures: each pixel gets the number of its class. JPEG, PNG, WebP, BMP and TIFF are taken.

```bash
curl --data-binary @street.jpg -H 'Content-Type: image/jpeg' -o labels.png 'http://127.0.0.1:8000/v1/models/NAME/segment'
curl -F image=@street.jpg -o overlay.jpg 'http://127.0.0.1:8000/v1/models/NAME/segment?output=overlay&opacity=0.5'
curl -F image=@street.jpg 'http://127.0.0.1:8000/v1/models/NAME/segment?output=json'
curl http://127.0.0.1:8000/v1/models
curl -H 'Authorization: Bearer KEY' http://127.0.0.1:8000/metrics        # where the server has a key
```

An error is `{"error": {"reason": "too_large", "message": "…"}}`: the reason for programs, the message for people.
"""

TAGS = [{"name": "models"}, {"name": "state", "description": "of the server"}]

_PICTURE = {"schema": {"type": "string", "format": "binary"}}
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
    415: "not a picture of a format that is taken, or an unknown Content-Type",
    422: "a picture that is damaged or does not fit the model, a malformed form, or a bad parameter",
    429: "the queue is full; try again after Retry-After seconds",
    503: "models are being loaded, or the server is about to stop",
    504: "no answer in time",
}
_ANSWERS = {
    "image/png": _PICTURE,
    "image/jpeg": _PICTURE,
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {
                "model": {"type": "string"},
                "height": {"type": "integer"},
                "width": {"type": "integer"},
                "classes": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "id, name, color and share of each",
                },
                "runs": {
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "integer"}},
                    "description": "[class, length], row after row",
                },
                "milliseconds": {"type": "object", "additionalProperties": {"type": "number"}},
            },
        }
    },
}

SEGMENT: dict[str, Any] = {
    "responses": {
        200: {
            "description": "labels: PNG of class numbers, with the classes' colours as its palette, or 16 bits of grey "
            "above 256 classes. overlay: JPEG, or PNG where Accept names that alone. json: classes with shares, and "
            "runs. The header Server-Timing has the stages.",
            "content": _ANSWERS,
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
                **dict.fromkeys(RAW, _PICTURE),
                FORM: {
                    "schema": {
                        "type": "object",
                        "properties": {FIELD: {"type": "string", "format": "binary"}},
                        "required": [FIELD],
                    }
                },
            },
        }
    },
}
