"""JSON: classes with their shares, and the label map as runs of one class, row after row."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from hrfamily_deploy.imaging import drawing
from hrfamily_deploy.serving.outputs.base import Output, Schema, Segmented, register

_RUNS_AT_A_TIME = 1 << 16
_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "height": {"type": "integer"},
        "width": {"type": "integer"},
        "classes": {
            "type": "array",
            "items": {"type": "object"},
            "description": "id, name, color and share of each; where unsure pixels are asked for, they are the last",
        },
        "runs": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer"}},
            "description": "[class, length], row after row",
        },
        "milliseconds": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}


def encode(segmented: Segmented) -> bytes:
    """JSON. The times in it are those of the stages before this one."""
    model, label = segmented.model, segmented.label
    shown = segmented.classes.shown
    shares = drawing.shares(segmented.classes.numbered(label), len(shown.names))
    classes = [
        {"id": index, "name": name, "color": list(color), "share": round(float(share), 6)}
        for index, (name, color, share) in enumerate(zip(shown.names, shown.colors, shares))
    ]
    if segmented.classes.unsure is not None:
        classes[-1]["id"] = segmented.classes.unsure
    head = {"model": model.name, "height": label.shape[0], "width": label.shape[1], "classes": classes}
    tail = {"milliseconds": {stage: round(value, 3) for stage, value in segmented.milliseconds.items()}}
    runs = ",".join(_runs(label.ravel()))
    return f'{json.dumps(head)[:-1]}, "runs": [{runs}], {json.dumps(tail)[1:]}'.encode()


def _runs(flat: np.ndarray) -> Iterator[str]:
    """Text of many runs at a time: as lists of Python's they would take a hundred bytes each."""
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    for first in range(0, len(ends), _RUNS_AT_A_TIME):
        part = ends[first : first + _RUNS_AT_A_TIME]
        lengths = np.diff(part, prepend=ends[first - 1] if first else -1)
        pairs = np.stack([flat[part].astype(np.int64), lengths], axis=1).tolist()
        yield json.dumps(pairs, separators=(",", ":"))[1:-1]


register(
    Output(
        name="json",
        description="classes with shares, and runs",
        media_types={"application/json": ".json"},
        encode=encode,
        decode=json.loads,
        schema=_SCHEMA,
    )
)
