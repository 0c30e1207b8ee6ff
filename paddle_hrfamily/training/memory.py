"""What to say when a step of training does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.training.step import Batch, Step

_SIGNS = ("out of memory", "resourceexhausted", "alloc_failed", "fail to alloc memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Of any device. Paddle raises MemoryError of its own allocations; of libraries' it passes on the message."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


def guarded(step: Step, batches: Sequence[Batch]) -> tuple[float, list[float]]:
    """The step.

    Raises:
        UserError: it does not fit into memory. The message has the batch, the crop, and what would fit: that is tried.
    """
    try:
        return step(batches)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
    # Out here the frames of the failed step are gone, and with them what they held.
    count, _, height, width = batches[0]["img"].shape
    raise UserError(explained((count, height, width), lambda *size: _fits(step, batches[0], *size)))


def explained(size: tuple[int, int, int], fits: Callable[[int, int, int], bool]) -> str:
    """The message for batch, height and width that did not fit; `fits` tries smaller ones."""
    count, height, width = size
    what = f"out of memory: batch_size {count} of crop {width}x{height} does not fit on {paddle.device.get_device()}"
    smaller = [count // 2**power for power in range(1, count.bit_length())]
    for batch in smaller:
        if fits(batch, height, width):
            again = f"--batch_size {batch} --accumulate {count // batch}"
            exact = "" if count % batch == 0 else f" ({count // batch * batch} images a step)"
            return f"{what}; {batch} of it fit, and {again} makes steps of as many images{exact}"
    for power in (1, 2, 3):
        h, w = (max(32, side // 2**power // 32 * 32) for side in (height, width))
        if fits(1, h, w):
            return f"{what}, nor does a single one; one of crop {w}x{h} fits: lower crop_size, and say --batch_size 1"
    return f"{what}, nor does one image of an eighth of the size: see who holds the memory, or take a smaller network"


def _fits(step: Step, example: Batch, count: int, height: int, width: int) -> bool:
    _release(step)
    batch = {}
    for name, value in example.items():
        if isinstance(value, paddle.Tensor) and value.ndim >= 3:
            batch[name] = paddle.zeros([count, *value.shape[1:-2], height, width], value.dtype)
    try:
        step.gradient([batch])
        if paddle.device.is_compiled_with_cuda():
            paddle.device.synchronize()
    except (MemoryError, RuntimeError, OSError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        _release(step)
    return True


def _release(step: Step) -> None:
    for parameter in step.model.parameters():
        parameter.clear_gradient(False)  # let it go; zeros would stay
    if paddle.device.get_device().startswith("gpu"):
        paddle.device.cuda.empty_cache()
