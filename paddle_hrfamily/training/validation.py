"""Evaluation as training goes: scores, the loss on validation images, and what the network makes of a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddleseg.utils import logger

from hrfamily_deploy.imaging import image_files
from paddle_hrfamily.data.classes import ClassTable
from paddle_hrfamily.evaluation import protocols
from paddle_hrfamily.evaluation.counts import gathered
from paddle_hrfamily.evaluation.scores import Scores
from paddle_hrfamily.patching import core_module
from paddle_hrfamily.training.memory import is_out_of_memory
from paddle_hrfamily.visualization import drawing

_WIDTH = 480  # pixels, of a logged image's columns


class ValidationLoss:
    """An OutputMeasure: the main output's loss, of every image by itself, at the size of its label, averaged.

    Args:
        losses: PaddleSeg's {"types": …, "coef": …}, of which the first is meant.
    """

    def __init__(self, losses: Mapping[str, Any]) -> None:
        self.loss, self.coefficient = losses["types"][0], losses["coef"][0]
        self.output: paddle.Tensor | None = None
        self.total = np.zeros(2)  # sum of losses, number of images
        self.value: float | None = None
        self.failure: str | None = None  # why this loss cannot be computed of what is evaluated

    def hear(self, output: paddle.Tensor) -> None:
        self.output = output

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        if self.output is None or self.failure is not None:
            return
        output = self.output.astype("float32")
        try:
            found = self.loss(output, paddle.to_tensor(label[np.newaxis], place=output.place))
            found = float(sum(found) if isinstance(found, list) else found)  # MixedLoss
        except Exception as error:  # a loss of PaddleSeg's that is given more in training, such as edges or points
            if is_out_of_memory(error):
                raise
            self.failure = f"{type(self.loss).__name__} is none of output and labels alone ({type(error).__name__})"
            return
        self.total += found * self.coefficient, 1

    def report(self, counts: np.ndarray) -> ValidationLoss:
        total, images = gathered(self.total)
        self.value = float(total / images) if images else None
        return self

    def table(self) -> str:
        return (
            "" if self.value is None or self.failure else f"loss {self.value:.4f}, of the main output, mean over images"
        )

    def to_json(self) -> dict[str, object]:
        return {"loss": None if self.failure else self.value}


class Samples:
    """An ImageMeasure that keeps the label maps of a few images, evenly taken from the data set.

    Args:
        count: how many.
        table: names and colours of the classes.
    """

    def __init__(self, dataset: paddle.io.Dataset, count: int, table: ClassTable) -> None:
        ranks = paddle.distributed.ParallelEnv().nranks  # the first process, which logs, sees each of so many
        seen = range(0, len(dataset), ranks)
        self.chosen = [seen[at] for at in np.linspace(0, len(seen) - 1, min(count, len(seen))).astype(int)]
        self.dataset, self.classes = dataset, table
        self.maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        if index in self.chosen:
            self.maps[index] = predicted, label

    def report(self, counts: np.ndarray) -> Samples:
        return self

    def table(self) -> str:
        return ""

    def to_json(self) -> dict[str, object]:
        return {}

    def pictures(self) -> dict[str, np.ndarray]:
        """Name -> image | truth | prediction (H, W, 3) uint8, RGB."""
        drawn = {}
        for index, (predicted, label) in sorted(self.maps.items()):
            path = Path(self.dataset.file_list[index][0])
            image = image_files.visible(path)
            width = min(_WIDTH, image.shape[1])
            drawn[path.stem] = drawing.comparison(
                [(image, label, {"prediction": predicted})], self.classes, width=width
            )
        return drawn


class Validation:
    """Callable with a network: evaluates it. Afterwards `loss` and `pictures` are those of the last one evaluated.

    Args:
        losses: as of `ValidationLoss`.
        samples: images to draw.
        options: of PaddleSeg's evaluate: num_workers, precision, amp_level, and a config's test_config.
    """

    def __init__(
        self,
        dataset: paddle.io.Dataset,
        losses: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        table: ClassTable | None = None,
        samples: int = 0,
    ) -> None:
        self.dataset, self.losses, self.options = dataset, losses, options
        self.of_classes = protocols.protocol_of(dataset) is None
        self.drawn = samples if table is not None and self.of_classes and hasattr(dataset, "file_list") else 0
        self.classes = table
        self.has_loss = self.of_classes
        self.loss: float | None = None
        self.pictures: dict[str, np.ndarray] = {}

    def __call__(self, model: nn.Layer, *, print_detail: bool) -> Scores:
        fits = self.has_loss and getattr(model, "data_format", "NCHW") == "NCHW"
        loss = ValidationLoss(self.losses) if fits else None
        samples = Samples(self.dataset, self.drawn, self.classes) if self.drawn and self.classes is not None else None
        scores = self._evaluated(model, print_detail, loss, samples)
        if loss is not None and loss.failure:
            self.has_loss = False
            logger.warning(f"There is no validation loss: {loss.failure}")
        self.loss = None if loss is None or loss.failure else loss.value
        self.pictures = {} if samples is None else samples.pictures()
        return scores

    def _evaluated(
        self, model: nn.Layer, print_detail: bool, loss: ValidationLoss | None, samples: Samples | None
    ) -> Scores:
        measures = [measure for measure in (loss, samples) if measure is not None]
        more = {"measures": measures} if self.of_classes else {}
        return core_module("val").evaluate(model, self.dataset, print_detail=print_detail, **self.options, **more)
