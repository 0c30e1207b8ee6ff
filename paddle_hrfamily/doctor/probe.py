"""Imports, one after another, what can crash an interpreter: run in a process of its own, one JSON line a step.

The last line printed tells how far it came. See installation.probe().
"""

import json


def paddle() -> dict:
    import zlib  # noqa: F401  before paddle, as everywhere: Paddle 2.6 exports zlib's symbols

    import paddle

    gpus = []
    if paddle.is_compiled_with_cuda():
        for index in range(paddle.device.cuda.device_count()):
            gpu = paddle.device.cuda.get_device_properties(index)
            gpus.append({"name": gpu.name, "capability": f"{gpu.major}.{gpu.minor}"})
    return {"cuda": paddle.version.cuda() if paddle.is_compiled_with_cuda() else None, "gpus": gpus}


def computation() -> dict:
    import paddle

    product = paddle.nn.functional.conv2d(paddle.ones([1, 1, 4, 4]), paddle.ones([1, 1, 3, 3]))
    return {"device": paddle.device.get_device(), "sum": float(product.sum())}


def opencv() -> dict:
    import cv2

    return {"version": cv2.__version__}


def paddleseg() -> dict:
    import importlib.util

    import paddleseg

    train = importlib.util.find_spec("paddleseg.train")
    return {"file": paddleseg.__file__, "train": train and train.origin}


if __name__ == "__main__":
    for step in (paddle, computation, opencv, paddleseg):
        print("\n" + json.dumps([step.__name__, None]), flush=True)
        print("\n" + json.dumps([step.__name__, step()]), flush=True)
