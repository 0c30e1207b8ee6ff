"""Label maps from exported networks: Predictor here, Client for a server elsewhere.

    >>> from hrfamily_deploy import Predictor
    >>> label = Predictor("output/exported").predict("street.jpg")[0]

Neither paddle_hrfamily nor PaddleSeg is needed. Importing this package imports nothing else.
"""

from __future__ import annotations

_HOMES = {"Client": "client", "Predictor": "predictor", "UserError": "errors"}

__all__ = ["Client", "Predictor", "UserError"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
