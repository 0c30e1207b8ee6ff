"""One image in, one map out, through a config's transforms and PaddleSeg's own inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import paddle
from paddleseg.core import infer
from paddleseg.transforms import Compose
from tqdm import tqdm

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.host.overlay import borrowed

if TYPE_CHECKING:
    from paddleseg.cvlibs import SegBuilder

    from paddle_hrfamily.host.scoring.evaluation import EvaluationOptions


@dataclass(frozen=True)
class InferenceOptions:
    """How the network sees an image. Sizes are (width, height) in pixels, as PaddleSeg has them.

    Attributes:
        aug_pred: average over `scales` and flips.
        is_slide: move a window of `crop_size` over the image by `stride`.
    """

    aug_pred: bool = False
    scales: tuple[float, ...] = (1.0,)
    flip_horizontal: bool = False
    flip_vertical: bool = False
    is_slide: bool = False
    crop_size: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> InferenceOptions:
        """From keys of that name, others being left alone. Raises UserError for values that make no sense."""
        scales = options.get("scales", 1.0)
        return cls(
            aug_pred=bool(options.get("aug_pred")),
            scales=_scales(scales if isinstance(scales, (list, tuple)) else [scales]),
            flip_horizontal=bool(options.get("flip_horizontal")),
            flip_vertical=bool(options.get("flip_vertical")),
            is_slide=bool(options.get("is_slide")),
            **(_window(options) if options.get("is_slide") else {}),
        )


def label_predictor(
    model: paddle.nn.Layer, builder: SegBuilder, channels: int, options: InferenceOptions
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image (H, W, 3), RGB uint8, to its label map (H, W), int32.

    `channels` is what the network takes: 3, or 1 for a grey image that is made of the RGB one.
    """
    infer_one = _predictor(model, builder, channels, options)
    return lambda image: infer_one(image)[0].numpy()[0, 0]


def depth_predictor(
    model: paddle.nn.Layer, builder: SegBuilder, channels: int, options: InferenceOptions
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image (H, W, 3), RGB uint8, to its depth (H, W), float32 metres of 0 or more."""
    infer_one = _predictor(model, builder, channels, options)
    return lambda image: infer_one(image)[1].numpy()[0, 0].clip(min=0)


def map_predictor(
    model: paddle.nn.Layer, builder: SegBuilder, channels: int, options: InferenceOptions
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image (H, W, 3), RGB uint8, to the network's output (K, H, W) as it is, float32."""
    infer_one = _predictor(model, builder, channels, options)
    return lambda image: infer_one(image)[1].numpy()[0]


def predictions(
    model: paddle.nn.Layer,
    dataset: paddle.io.Dataset,
    indices: Sequence[int],
    options: EvaluationOptions,
    name: str = "evaluating",
) -> Iterator[tuple[dict[str, Any], paddle.Tensor]]:
    """The samples of these numbers, one after the other, as batches of one, each with its output (1, K, H, W) at the
    size of the label; `name` is the progress bar's."""
    loader = paddle.io.DataLoader(
        paddle.io.Subset(dataset, list(indices)), batch_size=1, num_workers=options.num_workers, return_list=True
    )
    half = options.precision == "fp16"
    model.eval()
    for sample in tqdm(loader, name, len(indices), unit="sample", leave=False, disable=not options.print_detail):
        mixed = paddle.amp.auto_cast(level=options.amp_level) if half else nullcontext()
        with paddle.no_grad(), mixed:
            _, output = _infer(model, sample["img"], sample["trans_info"], options.inference)
        yield sample, output.astype("float32")


def _predictor(
    model: paddle.nn.Layer, builder: SegBuilder, channels: int, options: InferenceOptions
) -> Callable[[np.ndarray], tuple[paddle.Tensor, paddle.Tensor]]:
    """Image (H, W, 3) -> labels (1, 1, H, W) and output (1, K, H, W)."""
    if channels not in (1, 3):
        raise UserError(f"pictures give 1 or 3 channels, and this network takes {channels}")
    transforms = Compose(builder.val_transforms, img_channels=channels)
    to_input = cv2.COLOR_RGB2GRAY if channels == 1 else cv2.COLOR_RGB2BGR
    dataset = builder.val_dataset_class
    model.eval()

    def predict(image: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        data = transforms({"img": cv2.cvtColor(image, to_input).astype(np.float32)})
        batch = paddle.to_tensor(data["img"][np.newaxis])  # (1, channels, h, w)
        with paddle.no_grad(), mirrored_classes(dataset, getattr(dataset, "NUM_CLASSES", 0)):
            return _infer(model, batch, data["trans_info"], options)

    return predict


@contextmanager
def mirrored_classes(dataset: object, num_classes: int) -> Iterator[None]:
    """Within the `with`, the answer to a mirror image has the data set's left and right classes swapped back.

    PaddleSeg's flipping turns the map alone: a mirrored left arm would be averaged with a right one. A data set
    (or its class) names them as pairs in `mirrored`; for one without, nothing changes.
    """
    order = np.arange(num_classes)
    for left, right in getattr(dataset, "mirrored", ()):
        order[[left, right]] = right, left
    flip_alone = infer.tensor_flip

    def flip(x: paddle.Tensor, directions: tuple[bool, bool]) -> paddle.Tensor:
        x = flip_alone(x, directions)
        is_answer = x.shape[1] == num_classes  # the image passes here as well
        return x.index_select(paddle.to_tensor(order), axis=1) if directions[0] and is_answer else x

    with borrowed(infer, tensor_flip=flip) if hasattr(dataset, "mirrored") else nullcontext():
        yield


def _infer(model: paddle.nn.Layer, batch: paddle.Tensor, trans_info: list, options: InferenceOptions) -> tuple:
    window = {"is_slide": options.is_slide, "crop_size": options.crop_size, "stride": options.stride}
    if not options.aug_pred:
        return infer.inference(model, batch, trans_info=trans_info, **window)
    return infer.aug_inference(
        model,
        batch,
        trans_info=trans_info,
        scales=list(options.scales),
        flip_horizontal=options.flip_horizontal,
        flip_vertical=options.flip_vertical,
        **window,
    )


def _scales(values: Sequence[Any]) -> tuple[float, ...]:
    if not values or not all(isinstance(value, (int, float)) and value > 0 for value in values):
        raise UserError(f"scales {list(values)} must be numbers above 0, such as 0.75 1.0 1.25")
    return tuple(float(value) for value in values)


def _window(options: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    window = {}
    for name in ("crop_size", "stride"):
        size = options.get(name)
        if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size):
            raise UserError(f"is_slide needs --{name} WIDTH HEIGHT, such as --{name} 512 512; it is {size}")
        window[name] = tuple(size)
    if any(step > side for step, side in zip(window["stride"], window["crop_size"])):
        raise UserError(
            f"stride {window['stride']} is greater than crop_size {window['crop_size']}: pixels stay unseen"
        )
    return window
