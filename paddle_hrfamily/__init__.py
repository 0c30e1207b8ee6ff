"""The high-resolution segmentation family on PaddlePaddle: HRNet and U-HRNet as a PaddleSeg plug-in.

Importing the package imports neither paddle nor paddleseg: the import hook runs it at every interpreter start.

    >>> import paddle_hrfamily as hrf
    >>> model = hrf.create_model("uhrnet_w18_small", num_classes=19)
"""

__version__ = "0.1.0"

_HOMES = {
    "create_model": "zoo",
    "list_models": "zoo",
    "load_weights": "weights",
    "UserError": "errors",
}

__all__ = ["UserError", "__version__", "create_model", "list_models", "load_weights"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name != "UserError":
        from paddle_hrfamily.system import require_paddle

        require_paddle()
        from paddle_hrfamily.integration import plugins

        plugins.load()  # installed ones may add models and weight layouts
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
