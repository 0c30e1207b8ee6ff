"""This package's own names, and any file whose names are already the model's."""

from __future__ import annotations

from paddle_hrfamily.weights.layouts import Layout

OWN = Layout(
    name="own",
    signature=r"(backbone\.)?stem\.conv1\.conv\.weight|stages\.0\.encoder\.",  # the latter SPGNet's
    rules=(
        (r"((?:backbone|head)\..+)", lambda path: path),
        # A backbone saved by itself: HRNet and U-HRNet, DDRNet.
        (r"((?:stem|transitions|stages|conv[45]|high_end|low_end|context)\..+)", lambda path: f"backbone.{path}"),
    ),
    lacks=r"(?:backbone\.)?context\.",  # of a DDRNet converted from its classification network
)
