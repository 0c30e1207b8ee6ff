"""One image in, one map out, through a config's transforms and PaddleSeg's own inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Optional

import cv2
import numpy as np
import paddle
from paddleseg.core import infer
from paddleseg.cvlibs import SegBuilder

from hrfamily_deploy.imaging import confidence
from hrfamily_deploy.progress import progress
from paddle_hrfamily.data.reading import Reading, as_stored
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.inference.options import EvaluationOptions, InferenceOptions
from paddle_hrfamily.inference.protocol import Protocol
from paddle_hrfamily.patching import patched

Answer = tuple[np.ndarray, Optional[np.ndarray]]  # label map (H, W), and how sure it is


def label_predictor(
    model: paddle.nn.Layer,
    builder: SegBuilder,
    channels: int,
    options: InferenceOptions,
    protocol: Protocol | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image (H, W, 3), RGB uint8, to its label map (H, W), int32.

    `channels` is what the network takes: 3, or 1 for a grey image that is made of the RGB one. With NormalizeBands
    among the transforms, images are what `data.reading.reader` gives. A `protocol` takes the place of the options.
    """
    infer_one = _predictor(model, builder, channels, options, protocol)
    return lambda image: infer_one(image)[0].numpy()[0, 0]


@dataclass(frozen=True)
class Confidence:
    """What is asked of a network's confidence.

    Attributes:
        measure: one of `imaging.confidence.MEASURES`.
        unsure: pixels on the wrong side of this threshold have `unsure_number`; None for none.
        temperature: what logits are divided by first, as `hrfamily val --calibration` finds it.
    """

    measure: str = confidence.MEASURES[0]
    unsure: float | None = None
    temperature: float = 1.0


def answer_predictor(
    model: paddle.nn.Layer,
    builder: SegBuilder,
    channels: int,
    options: InferenceOptions,
    protocol: Protocol | None = None,
    asked: Confidence | None = None,
) -> Callable[[np.ndarray], Answer]:
    """As `label_predictor`, but the function gives the label map and its confidence (H, W), float32 of 0..1, which is
    None unless it is asked for."""
    infer_one = _predictor(model, builder, channels, options, protocol)

    def predict(image: np.ndarray) -> Answer:
        label, output = infer_one(image)
        found = label.numpy()[0, 0]
        if asked is None:
            return found, None
        planes = output.astype("float32").numpy()[0] / np.float32(asked.temperature)
        values = confidence.measured(iter(planes), asked.measure)
        if asked.unsure is not None:
            found = confidence.marked(found, values, asked.measure, asked.unsure, len(planes))
        return found, values

    return predict


def depth_predictor(
    model: paddle.nn.Layer,
    builder: SegBuilder,
    channels: int,
    options: InferenceOptions,
    protocol: Protocol | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image (H, W, 3), RGB uint8, to its depth (H, W), float32 metres of 0 or more."""
    infer_one = _predictor(model, builder, channels, options, protocol)
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
    half = options.precision == "fp16"
    model.eval()
    for sample in samples(dataset, indices, options.num_workers, name, quiet=not options.print_detail):
        mixed = paddle.amp.auto_cast(level=options.amp_level) if half else nullcontext()
        with paddle.no_grad(), mixed:
            _, output = _infer(model, sample["img"], sample["trans_info"], options.inference)
        yield sample, output.astype("float32")


def samples(
    dataset: paddle.io.Dataset, indices: Sequence[int], num_workers: int = 0, name: str = "evaluating", *, quiet: bool
) -> Iterator[dict[str, Any]]:
    """The samples of these numbers, one after the other, as batches of one; `name` is the progress bar's."""
    subset = paddle.io.Subset(dataset, list(indices))
    loader = paddle.io.DataLoader(subset, batch_size=1, num_workers=num_workers, return_list=True)
    yield from progress(loader, name, len(indices), leave=False, disable=quiet)


def _predictor(
    model: paddle.nn.Layer,
    builder: SegBuilder,
    channels: int,
    options: InferenceOptions,
    protocol: Protocol | None = None,
) -> Callable[[np.ndarray], tuple[paddle.Tensor, paddle.Tensor]]:
    """Image (H, W, 3) -> labels (1, 1, H, W) and output (1, K, H, W)."""
    transforms = Reading(builder.val_transforms, channels)
    if channels not in (1, 3) and as_stored(transforms.transforms) is None:
        raise UserError(f"images give 1 or 3 channels, and this network takes {channels}: NormalizeBands is missing")
    dataset = builder.val_dataset_class
    model.eval()

    def predict(image: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if channels == 1 and image.ndim == 3 else image
        data = transforms({"img": pixels.astype(np.float32)})
        batch = paddle.to_tensor(data["img"][np.newaxis])  # (1, channels, h, w)
        mirrored = mirrored_classes(dataset, getattr(dataset, "NUM_CLASSES", 0))
        published = protocol.applied(transforms.transforms) if protocol else nullcontext()
        with paddle.no_grad(), mirrored, published:
            return _infer(model, batch, data["trans_info"], options)

    return predict


@contextmanager
def mirrored_classes(dataset: object, num_classes: int) -> Iterator[None]:
    """Within the `with`, the output for a flipped image has the data set's left and right classes swapped back.

    PaddleSeg flips the map back and leaves its classes: a left arm would be averaged with a right one. A data set
    (or its class) names such classes as pairs in `mirrored`; for a data set without, nothing changes.
    """
    order = np.arange(num_classes)
    for left, right in getattr(dataset, "mirrored", ()):
        order[[left, right]] = right, left
    flip_alone = infer.tensor_flip

    def flip(x: paddle.Tensor, directions: tuple[bool, bool]) -> paddle.Tensor:
        x = flip_alone(x, directions)
        is_output = x.shape[1] == num_classes  # the image passes here as well
        return x.index_select(paddle.to_tensor(order), axis=1) if directions[0] and is_output else x

    with patched(infer, tensor_flip=flip) if hasattr(dataset, "mirrored") else nullcontext():
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
