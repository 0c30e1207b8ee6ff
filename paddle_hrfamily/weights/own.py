"""This package's own names, and any file whose names are already the model's."""

from __future__ import annotations

from paddle_hrfamily.weights.layouts import Layout

OWN = Layout(
    name="own",
    signature=r"(backbone\.)?stem\.conv1\.conv\.weight",
    rules=(
        (r"((?:backbone|head)\..+)", lambda path: path),
        (r"((?:stem|transitions|stages)\..+)", lambda path: f"backbone.{path}"),  # a backbone saved by itself
    ),
)
