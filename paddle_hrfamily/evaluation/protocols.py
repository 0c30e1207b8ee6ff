"""PaddleSeg's evaluation, with a report: by the data set's task, each with the measures that are published for it.

`install()` puts a function around `paddleseg.core.evaluate`; evaluation during training goes through it too. A data set
of classes is evaluated by PaddleSeg's own loop, whose pixels are counted on the way. One with a `task` of PROTOCOLS is
evaluated by the function there, and one with a method `evaluate(model, options)` by that.

The function takes two arguments more than PaddleSeg's: `protocol`, an `inference.protocol.Protocol` in place of scales,
flips and windows, and `measures`, each an `ImageMeasure` (or `OutputMeasure`) that a data set of classes is also judged
by.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddle_hrfamily.errors import unknown
from paddle_hrfamily.evaluation import depth, medical
from paddle_hrfamily.evaluation.counts import areas, gathered, pixel_counts
from paddle_hrfamily.evaluation.scores import ImageMeasure, Scores
from paddle_hrfamily.evaluation.segmentation import SegmentationReport, class_names
from paddle_hrfamily.inference.options import EvaluationOptions, InferenceOptions
from paddle_hrfamily.inference.prediction import mirrored_classes
from paddle_hrfamily.inference.protocol import Protocol
from paddle_hrfamily.patching import Overlay, core_module, patched, wrap_core

Evaluate = Callable[[nn.Layer, EvaluationOptions], Scores]
SEGMENTATION = "segmentation"  # the task of a data set that names none, as PaddleSeg's do
# A data set's task -> what evaluates a network on it.
PROTOCOLS: dict[str, Callable[..., Scores]] = {"depth": depth.evaluate, "volumes": medical.evaluate}


def install() -> None:
    """Make every evaluation in this process print the table. Safe to repeat."""
    wrap_core("val", "evaluate", _reported)
    vars(core_module("train"))["evaluate"] = core_module("val").evaluate


def protocol_of(dataset: paddle.io.Dataset) -> Evaluate | None:
    """What evaluates a network on this data set, or None for PaddleSeg's own loop.

    Raises:
        UserError: its `task` is none of PROTOCOLS.
    """
    if hasattr(dataset, "evaluate"):
        return dataset.evaluate
    task = getattr(dataset, "task", SEGMENTATION)
    if task == SEGMENTATION:
        return None
    if task not in PROTOCOLS:
        raise unknown(f"task of {type(dataset).__name__}", task, [SEGMENTATION, *PROTOCOLS])
    return functools.partial(_on, dataset, PROTOCOLS[task])


def _on(
    dataset: paddle.io.Dataset, evaluate: Callable[..., Scores], model: nn.Layer, options: EvaluationOptions
) -> Scores:
    return evaluate(model, dataset, options)


def _reported(evaluate: Callable) -> Callable:
    from paddleseg.utils import logger, metrics

    def reported(
        *args: object, protocol: Protocol | None = None, measures: Sequence[ImageMeasure] = (), **kwargs: object
    ) -> Scores:
        bound = inspect.signature(evaluate).bind(*args, **kwargs)
        bound.apply_defaults()
        dataset = bound.arguments["eval_dataset"]
        transforms = getattr(getattr(dataset, "transforms", None), "transforms", ())
        own = protocol_of(dataset)
        with protocol.applied(transforms) if protocol else nullcontext():
            if own is not None:
                return own(bound.arguments["model"], _options(bound.arguments))
            counter = _Counter(dataset, measures)
            counting = Overlay(metrics, calculate_area=counter.calculate_area)
            with (
                patched(core_module("val"), metrics=counting),
                mirrored_classes(dataset, dataset.num_classes),
                _heard([measure for measure in measures if hasattr(measure, "hear")]),
            ):
                scores = Scores(evaluate(*args, **kwargs))
        counts = counter.total()
        scores.report = SegmentationReport(
            counts,
            class_names(dataset),
            dataset.ignore_index,
            len(dataset),
            str(protocol or _options(bound.arguments).inference),
            tuple(measure.report(counts) for measure in measures),
        )
        if bound.arguments["print_detail"]:
            logger.info("[EVAL] Per class:\n" + scores.report.table())
        return scores

    return reported


@contextmanager
def _heard(listeners: Sequence[Any]) -> Iterator[None]:
    """Within the `with`, each `OutputMeasure` is told what inference returns."""

    def told(inference: Callable) -> Callable:
        def inferred(*args: object, **kwargs: object) -> Any:
            answer = inference(*args, **kwargs)
            if isinstance(answer, tuple):  # labels and output; for each scale of an average, it is the output alone
                for listener in listeners:
                    listener.hear(answer[1])
            return answer

        return inferred

    infer = core_module("val").infer
    told_all = {name: told(getattr(infer, name)) for name in ("inference", "aug_inference")}
    with patched(infer, **told_all) if listeners else nullcontext():
        yield


def _options(arguments: Mapping[str, Any]) -> EvaluationOptions:
    """From the arguments of PaddleSeg's evaluate; not every version has all of them."""
    inference = InferenceOptions.read({**arguments, "aug_pred": arguments["aug_eval"]})
    names = ("precision", "amp_level", "num_workers", "print_detail")
    return EvaluationOptions(inference, **{name: arguments[name] for name in names if name in arguments})


class _Counter:
    """Adds up the pixel counts of all images, each once: with several processes, PaddleSeg repeats some to fill up."""

    def __init__(self, dataset: paddle.io.Dataset, measures: Sequence[ImageMeasure] = ()) -> None:
        environment = paddle.distributed.ParallelEnv()
        self.dataset = dataset
        self.measures = measures
        self.ranks, self.index = environment.nranks, environment.rank
        self.counts = np.zeros((dataset.num_classes + 2, dataset.num_classes + 1), dtype="int64")

    def calculate_area(
        self, pred: paddle.Tensor, label: paddle.Tensor, num_classes: int, ignore_index: int = 255
    ) -> tuple[paddle.Tensor, ...]:
        counts = pixel_counts(pred, label, num_classes, ignore_index)
        if self.index < len(self.dataset):
            self.counts += counts
            for measure in self.measures:
                measure.add(self.index, *(x.numpy().reshape(x.shape[-2:]).astype("int64") for x in (pred, label)))
        self.index += self.ranks
        return tuple(paddle.to_tensor(area) for area in areas(counts, ignore_index))

    def total(self) -> np.ndarray:
        return gathered(self.counts)
