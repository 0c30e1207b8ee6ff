"""Everything that this package changes in PaddleSeg and Paddle, in one table: what, why, and until when.

`apply()` is called by registration; it may be repeated, and changes nothing that a later PaddleSeg has repaired.
Importing this imports neither paddle nor paddleseg: `hrfamily doctor` prints the table where they are broken.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

_HERE = "paddle_hrfamily.integration.repairs"
_BOTH = "2.6 and 3.x"


@dataclass(frozen=True)
class Repair:
    """One change of somebody else's code, in this process.

    Attributes:
        patched: dotted names of the functions that are replaced, or of the namespace in which some are.
        why: what a user sees without it, and the cause.
        paddle: the Paddle lines that it is for. All are for PaddleSeg 2.8.0.
        until: when it can go.
        source: where it is, as "module:function"; of a change for a while, the context manager that makes it.
        while_: "" if `apply` puts it in place for good, else when it is in place.
    """

    patched: tuple[str, ...]
    why: str
    paddle: str
    until: str
    source: str
    while_: str = ""


TABLE = (
    Repair(
        ("paddleseg.core.train.loss_computation", "paddleseg.core.train.train"),
        "IndexError at the first log line: `l[0]` of losses, which have no axis since Paddle 2.5",
        _BOTH,
        "PaddleSeg's training loop has no `l[0]`",
        f"{_HERE}.training:losses_with_an_axis",
    ),
    Repair(
        ("paddleseg.core.train.train",),
        "`to_static_training: True` ends in InnerError or AttributeError: to_static follows byte code since Paddle 2.6",
        _BOTH,
        "PaddleSeg asks for `full_graph=True`",
        f"{_HERE}.training:whole_graphs",
    ),
    Repair(
        ("paddleseg.models.losses.CrossEntropyLoss._post_process_loss",),
        'TypeError "Type promotion": Paddle 3 refuses to multiply float and integer',
        "3.x",
        "PaddleSeg casts there",
        f"{_HERE}.cross_entropy:of_all_pixels",
    ),
    Repair(
        ("paddleseg.models.losses.PointCrossEntropyLoss.forward",),
        'TypeError "Type promotion" on Paddle 3, and class weights by which class numbers are multiplied',
        _BOTH,
        "PaddleSeg casts there and multiplies by the weights",
        f"{_HERE}.cross_entropy:of_points",
    ),
    Repair(
        (
            "paddleseg.models.losses.OhemCrossEntropyLoss.forward",
            "paddleseg.models.losses.OhemEdgeAttentionLoss.forward",
        ),
        'OHEM sorts all pixels and takes as long as a small network; of edges, TypeError "Type promotion" on Paddle 3',
        _BOTH,
        "PaddleSeg has a faster one",
        f"{_HERE}.cross_entropy:of_hard_pixels",
    ),
    Repair(
        ("paddleseg.models.losses.RMILoss.forward_sigmoid",),
        'TypeError "Type promotion": Paddle 3 refuses to multiply float and bool',
        "3.x",
        "PaddleSeg casts there",
        f"{_HERE}.losses:region_mutual_information",
    ),
    Repair(
        ("paddleseg.models.losses.DualTaskLoss.forward",),
        'TypeError "Type promotion": Paddle 3 refuses to multiply float and bool',
        "3.x",
        "PaddleSeg casts there",
        f"{_HERE}.losses:dual_task",
    ),
    Repair(
        ("paddleseg.models.losses.DiceLoss.forward",),
        "ignored pixels count as class 0 in every loss after DiceLoss and in auxiliary heads: it writes into the batch",
        _BOTH,
        "PaddleSeg copies the labels first",
        f"{_HERE}.losses:labels_left_alone",
    ),
    Repair(
        ("paddleseg.models.losses.BCELoss.forward",),
        "BCELoss with pos_weight weighs negative logits wrongly on CPUs: Paddle 2's operator does",
        "2.6",
        "Paddle 2 goes",
        f"{_HERE}.losses:positive_weights",
    ),
    Repair(
        (
            "paddleseg.models.losses.RelaxBoundaryLoss.relax_onehot",
            "paddleseg.models.losses.RelaxBoundaryLoss.__init__",
        ),
        "RelaxBoundaryLoss has no gradient on Paddle 2, TypeError on 3, and a wrong slice with border > 1",
        _BOTH,
        "PaddleSeg repairs all three",
        f"{_HERE}.losses:relaxed_labels_in_float",
    ),
    Repair(
        ("paddleseg.models.losses.LovaszSoftmaxLoss.forward",),
        "ValueError from reshape for a batch without labels: the loss has no element",
        _BOTH,
        "PaddleSeg makes it 0",
        f"{_HERE}.losses:nothing_labelled",
    ),
    Repair(
        ("paddleseg.models.losses.MaskFormerLoss.forward",),
        "MaskFormerLoss finds no kernel: Paddle 2 cannot gather bool on CPUs",
        "2.6",
        "Paddle 2 goes",
        f"{_HERE}.losses:masks_gathered_as_numbers",
    ),
    Repair(
        ("paddleseg.transforms.transforms.cv2.copyMakeBorder", "paddleseg.transforms.transforms.cv2.warpAffine"),
        "images of more than four channels cannot be padded, cropped or rotated: OpenCV takes four values for a border",
        _BOTH,
        "PaddleSeg pads them itself",
        f"{_HERE}.transforms:borders_of_many_channels",
    ),
    Repair(
        ("paddleseg.models.dnlnet.DNLHead.__init__",),
        "DNLNet fails at the first batch on most backbones: its auxiliary output takes 1024 channels, come what may",
        _BOTH,
        "PaddleSeg reads them from the backbone",
        f"{_HERE}.heads:auxiliary_of_any_width",
    ),
    Repair(
        ("paddleseg.utils.metrics.calculate_area",),
        "ValueError from concat at the first evaluation: it concatenates sums that have no axis",
        _BOTH,
        "never: one histogram takes 1/20 of the time of PaddleSeg's loop",
        f"{_HERE}.metrics:areas_in_one_pass",
    ),
    Repair(
        ("paddleseg.utils.progbar.Progbar.update",),
        "a log gets the whole progress bar again at every image",
        _BOTH,
        "PaddleSeg looks whether it writes to a terminal",
        f"{_HERE}.progress_bars:lines_in_a_log",
    ),
    Repair(
        ("paddleseg.core.train.train",),
        "a kill can cost every checkpoint, and a resumed run starts another shuffle, other augmentation, another best",
        _BOTH,
        "never: this is a feature",
        "paddle_hrfamily.checkpointing.checkpoints:install",
    ),
    Repair(
        ("paddleseg.core.val.evaluate",),
        "classes have numbers in place of names, and depth and volumes have no measures",
        _BOTH,
        "never: this is a feature",
        "paddle_hrfamily.evaluation.protocols:install",
    ),
    Repair(
        ("paddleseg.core.infer.tensor_flip",),
        "flipped images mix left and right classes (arms, shoes) in the average",
        _BOTH,
        "PaddleSeg swaps classes that are a left and a right one",
        "paddle_hrfamily.inference.prediction:mirrored_classes",
        while_="predicting and evaluating",
    ),
    Repair(
        ("paddle.nn.functional.adaptive_avg_pool2d",),
        "oneDNN pools wrongly at sizes that the grid does not divide, in a graph that takes images of any size",
        _BOTH,
        "Paddle Inference asks oneDNN at every size",
        "paddle_hrfamily.export.pooling:of_any_size",
        while_="exporting",
    ),
    Repair(
        ("paddle",),
        'some fifty functions refuse the variables of a program: "must be Value, but got Variable"',
        "3.3",
        "Paddle 2, whose program form is written for both lines, goes",
        "paddle_hrfamily.export.program_operators:appending",
        while_="exporting",
    ),
    Repair(
        (
            "paddle.jit.dy2static.program_translator.FunctionCache.convert_with_cache",
            "paddle.base.layers.math_op_patch.inspect",
        ),
        "an export takes minutes: Paddle converts a layer's source again for every instance of it",
        _BOTH,
        "Paddle's cache keeps bound methods",
        "paddle_hrfamily.export.static_graph:_conversion_without_repetition",
        while_="exporting",
    ),
)


def apply() -> None:
    """Put in place, in this process, what is to stay there."""
    for repair in TABLE:
        if not repair.while_:
            module, _, function = repair.source.partition(":")
            getattr(importlib.import_module(module), function)()
