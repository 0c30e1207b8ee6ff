"""A network that takes images as they are: uint8, channels last, to be normalised in the graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from paddle_hrfamily.contract import traits
from paddle_hrfamily.export import static_graph
from paddle_hrfamily.export.fast import channel_pooling
from paddle_hrfamily.export.fast.object_context import ReorderedOCRHead
from paddle_hrfamily.export.fast.representation import COARSE, StreamwiseHead
from paddle_hrfamily.heads import HRNetV2Head, OCRHead
from paddle_hrfamily.models.segmentor import HeadOnBackbone


class FromImages(nn.Layer):
    """Images (N, H, W, C) as files hold them -> logits (N, K, h, w) at the network's own stride, where it has one.

    Args:
        model: in evaluation; it is left as it is.
        mean, std: of values over `unit`, one for all channels or one each.
        labels: end in labels (N, H, W) instead, of one byte for up to 256 classes: less to fetch from a GPU.
        unit: 255 of Normalize, 1 of NormalizeBands.
    """

    def __init__(
        self, model: nn.Layer, mean: Sequence[float], std: Sequence[float], labels: bool = False, unit: float = 255
    ) -> None:
        super().__init__()
        self.model = rewritten(model)
        self.native = is_native(model) and not labels
        self.labels = labels
        means, deviations = np.array(mean), np.array(std)
        self.register_buffer("scale", paddle.to_tensor(1 / (unit * deviations), "float32"))
        self.register_buffer("shift", paddle.to_tensor(-means / deviations, "float32"))

    def forward(self, pixels: paddle.Tensor) -> paddle.Tensor:
        # Channels go to the front last of all: runtimes that keep them last in memory then move nothing.
        image = (pixels.astype("float32") * self.scale + self.shift).transpose([0, 3, 1, 2])
        logits = self.model.native_logits(image)[0] if self.native else self.model(image)[0]
        if not self.labels:
            return logits
        return paddle.argmax(logits, axis=1, dtype="int32").astype(label_type(logits.shape[1]))


def label_type(classes: int) -> str:
    """The smallest type of labels that all runtimes have."""
    return "uint8" if classes <= 256 else "int32"


def is_native(model: nn.Layer) -> bool:
    """Whether the logits can be taken before their last resize: what follows is then bilinear, by pixel centres."""
    return hasattr(model, "native_logits") and not model.align_corners


def rewritten(model: nn.Layer) -> nn.Layer:
    """The network with the fast form of its head, if there is one; weights are shared."""
    head = _fast_form(model) if isinstance(model, HeadOnBackbone) else None
    if head is None:
        return model
    twin = copy.copy(model)
    twin._sub_layers = {**model._sub_layers, "head": head}
    return twin


def _fast_form(model: HeadOnBackbone) -> nn.Layer | None:
    """Of a head of exactly this class: a subclass may compute something else."""
    head, backbone = model.head, traits(model.backbone)
    if type(head) is OCRHead:
        return ReorderedOCRHead(head)
    strides = backbone.feat_strides
    if type(head) is HRNetV2Head and not head.align_corners and strides and strides[-1] >= COARSE * strides[0]:
        return StreamwiseHead(head, backbone.feat_channels, strides)
    return None


def save(
    model: nn.Layer,
    shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: str,
    prefix: Path,
    labels: bool = False,
    unit: float = 255,
) -> list[str]:
    """Write `prefix`.pdmodel and .pdiparams, run them, and hold the result against the network's own logits.

    Args:
        model: a segmentation network; its first output is exported.
        shape: (N, C, H, W), -1 where open; the graph takes (N, H, W, C).
        mean, std, labels, unit: as in FromImages.
        dtype: of the images, "uint8", or "float32" for those that are resized before.
        prefix: path without suffix.

    Returns:
        The sizes compared, as "HxW".

    Raises:
        UserError: the written graph computes something else.
    """
    model.eval()
    # The dynamic network's answers come first: to_static rewrites `forward` in place.
    images = [_image(noise, mean, std, unit).astype(dtype) for noise in static_graph.images(shape)]
    native = is_native(model) and not labels
    expected = [_logits(model, image / unit, mean, std, native) for image in images]
    batch, channels, height, width = shape
    spec = paddle.static.InputSpec([batch, height, width, channels], dtype, name="x")
    with channel_pooling.by_convolution():
        static_graph.write(FromImages(model, mean, std, labels, unit), [spec], prefix)
    run = static_graph.load(prefix)
    for image, logits in zip(images, expected):
        static_graph.compare(run(image), logits, "argmax" if labels else "none")
    return ["x".join(map(str, image.shape[1:3])) for image in images]


def _image(noise: np.ndarray, mean: Sequence[float], std: Sequence[float], unit: float) -> np.ndarray:
    """(N, C, H, W) of mean 0 and deviation 1 -> (N, H, W, C) of whole numbers, such as images hold."""
    noise = noise.transpose(0, 2, 3, 1)
    image = noise * 64 + 128 if unit == 255 else noise * np.array(std) + np.array(mean)
    return np.floor(image).clip(0, 255 if unit == 255 else 65535)


def _logits(
    model: nn.Layer, values: np.ndarray, mean: Sequence[float], std: Sequence[float], native: bool
) -> np.ndarray:
    normal = (values - np.array(mean)) / np.array(std)
    image = paddle.to_tensor(np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32))
    with paddle.no_grad():
        return (model.native_logits(image) if native else model(image))[0].numpy()
