"""PaddleSeg's own networks and this package's with the same weights, exported by each, for deploy/benchmark.py.

    python tests/deploy/opponents.py OUT hrnet_w18 ddrnet_23
    python deploy/benchmark.py OUT/hrnet_w18/ours --compare OUT/hrnet_w18/paddleseg,backend=onnxruntime

Writes OUT/NAME/paddleseg (with model.onnx beside the graph) and OUT/NAME/ours, both 1x3x512x1024 -> labels, and holds
their label maps against each other. What PaddleSeg's folder holds already is not made again. The weights are random but
behave as trained ones: batch norms hold the statistics of real frames, and every class wins somewhere.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy")]

if TYPE_CHECKING:
    import numpy as np
    from paddle import nn

# This package's name -> PaddleSeg's components: a model by itself, or a head and its backbone.
OPPONENTS = {
    "hrnet_w18_small_v2": ("FCN", "HRNet_W18_Small_V2"),
    "hrnet_w18": ("FCN", "HRNet_W18"),
    "uhrnet_w18_small": ("FCN", "UHRNet_W18_Small"),
    "hrnet_w48": ("FCN", "HRNet_W48"),
    "uhrnet_w48": ("FCN", "UHRNet_W48"),
    "ddrnet_23": ("DDRNet_23",),
    "hrnet_w18_ocr": ("OCRNet", "HRNet_W18"),
}
SHAPE = [1, 3, 512, 1024]
CLASSES = 19
PROGRAM_FORM = "FLAGS_enable_pir_api"  # of Paddle 3: "0" exports .pdmodel, which every runtime reads
FOLDING = ("paddle2onnx", "polygraphy", "onnx_graphsurgeon", "sympy")
LEAST_EQUAL = 0.9999
NORMALIZE = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # _base_/cityscapes.yml
_STATISTICS_SIZE = (512, 256)  # width and height of the frames that batch norms see
_LOGIT_SPREAD = 3.0


def parser() -> argparse.ArgumentParser:
    from hrfamily_deploy.scripts import command_line

    summary, _, rest = __doc__.partition("\n\n")
    made = command_line.Parser(
        prog="opponents.py", description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("out", type=Path, help="folder to write")
    made.add_argument("names", nargs="+", metavar="NAME", choices=OPPONENTS, help=", ".join(OPPONENTS))
    frames = ROOT.parent / "shared" / "data" / "cityscapes" / "leftImg8bit"
    made.add_argument("--frames", type=Path, default=frames, help="real images, from 2 up (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    made.add_argument(
        "--export",
        nargs=argparse.REMAINDER,
        default=[],
        help="what follows goes to hrfamily export (default: none)",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    os.environ[PROGRAM_FORM] = "0"  # before Paddle comes
    from paddle_hrfamily import system

    system.prepare()
    for name in args.names:
        folder = args.out / name
        if not (folder / "paddleseg" / "deploy.yaml").is_file():
            write_theirs(name, folder, args.frames, args.seed)
        write_ours(name, folder, args.export)
        verify(name, folder, args.frames)
        gc.collect()
    return 0


def write_theirs(name: str, folder: Path, frames: Path, seed: int) -> None:
    """PaddleSeg's network: weights, graph and description as its exporter writes them, and the graph as ONNX."""
    import paddle
    import yaml

    paddle.seed(seed)
    model = build(*OPPONENTS[name])
    settle(model, prepared(frames, *_STATISTICS_SIZE))
    folder.joinpath("paddleseg").mkdir(parents=True, exist_ok=True)
    paddle.save(model.state_dict(), str(folder / "model.pdparams"))
    prefix = folder / "paddleseg" / "model"
    export(model, prefix)
    to_onnx(prefix)
    deploy = {
        "model": "model.pdmodel",
        "params": "model.pdiparams",
        "transforms": [NORMALIZE],
        "input_shape": SHAPE,
        "output_op": "argmax",
        "output_dtype": "int32",
    }
    prefix.with_name("deploy.yaml").write_text(yaml.safe_dump({"Deploy": deploy}))


def build(kind: str, backbone: str = "") -> nn.Layer:
    """PaddleSeg's component, on the last output of its backbone."""
    from paddleseg.cvlibs import manager

    if not backbone:
        return manager.MODELS[kind](num_classes=CLASSES)
    return manager.MODELS[kind](
        num_classes=CLASSES, backbone=manager.BACKBONES[backbone](), backbone_indices=[-1 if kind == "FCN" else 0]
    )


def settle(model: nn.Layer, images: Sequence[np.ndarray]) -> None:
    """As if trained: random scales and these images' statistics for batch norms, and equal chances for every class."""
    import numpy as np
    import paddle
    from paddle import nn

    norms = [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    for norm in norms:
        norm.weight.set_value(paddle.uniform(norm.weight.shape, min=0.5, max=1.5))
        # If half of the units are off, rounding grows from layer to layer as it does not in trained networks.
        norm.bias.set_value(0.6 + 0.2 * paddle.randn(norm.bias.shape))
    # The exporter compares at noise, which is not to drive the activations out of all bounds either.
    noise = np.random.default_rng(0).standard_normal(images[0].shape, dtype=np.float32)
    batches = [paddle.to_tensor(np.stack([*pair, noise])) for pair in zip(images[::2], images[1::2])]
    model.train()
    with paddle.no_grad():
        for count, batch in enumerate(batches):
            for norm in norms:
                norm._momentum = count / (count + 1)  # the mean over all batches
            model(batch)
        model.eval()
        classifiers = [layer for layer in model.sublayers() if getattr(layer, "_out_channels", None) == CLASSES]
        hooks = [layer.register_forward_post_hook(_equal_chances) for layer in classifiers]
        model(batches[0])
    for hook in hooks:
        hook.remove()


def _equal_chances(classifier: nn.Layer, inputs: tuple, logits: Any) -> Any:
    scale = _LOGIT_SPREAD / logits.std(axis=[0, 2, 3])
    classifier.weight.set_value(classifier.weight * scale.reshape([-1, 1, 1, 1]))
    classifier.bias.set_value((classifier.bias - logits.mean(axis=[0, 2, 3])) * scale)
    return classifier.forward(*inputs)


def export(model: nn.Layer, prefix: Path) -> None:
    """As PaddleSeg's export.py does, in its own wrapper with argmax at the end; that needs help on Paddle 3.3."""
    import paddle
    from paddleseg.deploy.export import WrappedModel

    from paddle_hrfamily.export import program_operators

    spec = [paddle.static.InputSpec(SHAPE, "float32", name="x")]
    with program_operators.appending():
        graph = paddle.jit.to_static(WrappedModel(model, "argmax"), input_spec=spec, full_graph=True)
        graph.eval()
        paddle.jit.save(graph, str(prefix))


def to_onnx(prefix: Path) -> None:
    """`prefix`.onnx of `prefix`.pdmodel, by paddle2onnx with its own settings, which fold constants."""
    from hrfamily_deploy.errors import UserError

    if missing := [package for package in FOLDING if importlib.util.find_spec(package) is None]:
        # It would install them by itself, with whatever else they ask for.
        raise UserError(f"paddle2onnx needs more to fold constants: pip install {' '.join(missing)} 'numpy<2'")
    import paddle2onnx

    program, params, target = (str(prefix.with_suffix(suffix)) for suffix in (".pdmodel", ".pdiparams", ".onnx"))
    paddle2onnx.export(program, params, target, opset_version=17)
    if not Path(target).is_file():  # it prints why, and goes on
        raise UserError(f"paddle2onnx did not write {target}")


def write_ours(name: str, folder: Path, flags: Sequence[str]) -> None:
    """This package's network with those weights: a config of its own, and the command that users type."""
    import yaml

    from hrfamily_deploy.errors import UserError

    config = folder / "ours.yml"
    base = ROOT / "configs" / "_base_" / "cityscapes.yml"
    config.write_text(yaml.safe_dump({"_base_": str(base), "model": described(name)}, sort_keys=False))
    command = [sys.executable, "-m", "paddle_hrfamily", "export", "--config", config, "--save_dir", folder / "ours"]
    command += ["--model_path", folder / "model.pdparams", "--input_shape", *SHAPE, *flags]
    variables = {key: value for key, value in os.environ.items() if key != PROGRAM_FORM}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), variables.get("PYTHONPATH")]))
    if subprocess.run(list(map(str, command)), env=variables, check=False).returncode:
        raise UserError(f"hrfamily export failed for {config}")


def described(name: str) -> dict[str, Any]:
    """The model's section of a config, with PaddleSeg's padding."""
    from paddle_hrfamily.zoo import find

    entry = find(name)
    backbone = {"type": entry.backbone, "variant": entry.variant, "padding": "same", **entry.backbone_options}
    return {"type": entry.model, "backbone": backbone, "num_classes": CLASSES, **entry.model_options}


def verify(name: str, folder: Path, frames: Path) -> None:
    """Both graphs, and PaddleSeg's as ONNX, give the same label maps of real frames."""
    import numpy as np

    from hrfamily_deploy.errors import UserError
    from hrfamily_deploy.predictor import Predictor

    images = resized(frames, SHAPE[3], SHAPE[2])
    theirs = labels(Predictor(folder / "paddleseg", "cpu"), images)
    share = np.bincount(theirs.ravel(), minlength=CLASSES) / theirs.size
    print(f"{name}: {np.count_nonzero(share)} classes, the most frequent on {share.max():.1%}")
    others = {"its ONNX": ("paddleseg", "onnxruntime"), "ours": ("ours", "paddle")}
    for other, (where, backend) in others.items():
        equal = float((labels(Predictor(folder / where, "cpu", backend=backend), images) == theirs).mean())
        print(f"{name}: {equal:.6%} of pixels are equal in PaddleSeg's graph and {other}")
        if equal < LEAST_EQUAL:
            raise UserError(f"{folder}: PaddleSeg's graph and {other} must agree on {LEAST_EQUAL:.2%} of pixels")


def labels(predictor: Any, images: Sequence[np.ndarray]) -> np.ndarray:
    import numpy as np

    return np.stack(list(predictor.predict_each(images)))


def prepared(frames: Path, width: int, height: int) -> list[np.ndarray]:
    from hrfamily_deploy.imaging.preprocess import Pipeline

    pipeline = Pipeline([NORMALIZE], SHAPE[1], frames)
    return [pipeline(image).planes for image in resized(frames, width, height)]


def resized(frames: Path, width: int, height: int) -> list[np.ndarray]:
    import cv2

    from hrfamily_deploy.errors import UserError
    from hrfamily_deploy.imaging import image_files

    found = image_files.find(frames)[:6]
    if len(found) < 2:
        raise UserError(f"--frames {frames} holds one picture; give two or more")
    images = [image_files.decode(source.path, SHAPE[1]) for source in found]
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images]


if __name__ == "__main__":
    from hrfamily_deploy.scripts import command_line

    sys.exit(command_line.run(main))
