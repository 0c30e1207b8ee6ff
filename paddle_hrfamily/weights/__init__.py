"""Weights: fetched from anywhere, read without running anything, loaded whole or refused with the reason."""

# Each of these files registers layouts, which are tried in this order.
# isort: off
from paddle_hrfamily.weights import official, paddleseg, ddrnet, resnet  # noqa: F401

# isort: on
from paddle_hrfamily.weights.fetching import fetch
from paddle_hrfamily.weights.files import read, read_object, save
from paddle_hrfamily.weights.loading import Report, load_weights
from paddle_hrfamily.weights.published import Published, resolve

__all__ = ["Published", "Report", "fetch", "load_weights", "read", "read_object", "resolve", "save"]
