"""What an exported folder holds: the graph, its weights, and the description that says how to use them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hrfamily_deploy.colors import Color, palette
from hrfamily_deploy.errors import UserError

if TYPE_CHECKING:
    import numpy as np

DESCRIPTIONS = ("deploy.yaml", "inference.yml")
MEANINGS = {"argmax": "labels", "softmax": "probabilities", "none": "logits"}  # output_op -> what the graph ends in
_MOST_CLASSES = 256


@dataclass(frozen=True)
class Bundle:
    """An exported network.

    Attributes:
        description: the YAML file that all the rest was read from.
        program: `.pdmodel`, or `.json` as Paddle 3 writes it by default.
        params: `.pdiparams`.
        onnx: the same graph for other runtimes, if it lies beside.
        transforms: what evaluation does to an image, in PaddleSeg's words.
        input_shape: (N, C, H, W), -1 where open.
        output: what the graph ends in, "labels", "probabilities" or "logits".
        takes_images: the graph takes (N, H, W, C) of 0..255 and normalises them itself.
        dtype: of the graph's input, "float32", or "uint8" of images that nothing resizes before.
        image_dtype: of the values in image files, which it takes as they are stored, channels and all; None of a
            network of 8-bit RGB or grey.
        native: its logits are at the network's own stride, and their bilinear resize is left to whoever runs it.
        class_names, class_colors: one each per class, RGB; "class 0", "class 1", … where the description has none.
        temperature: what logits are divided by before they become probabilities, as `hrfamily val --calibration` finds
            it; 1 unless the export was told.
    """

    description: Path
    program: Path
    params: Path
    onnx: Path | None
    transforms: tuple[Mapping[str, Any], ...]
    input_shape: tuple[int, int, int, int]
    output: str
    takes_images: bool
    dtype: str
    image_dtype: str | None
    native: bool
    class_names: tuple[str, ...]
    class_colors: tuple[Color, ...]
    temperature: float = 1.0

    @property
    def folder(self) -> Path:
        return self.description.parent

    @property
    def channels(self) -> int:
        return self.input_shape[1]

    def as_image(self, noise: np.ndarray) -> np.ndarray:
        """(H, W, C) uint8 in the type of this network's images, where no real image is there to try it with."""
        return noise.astype(self.image_dtype or "uint8", copy=False)

    def input_of(self, batch: int, height: int, width: int) -> list[int]:
        """The graph's own order of these extents."""
        return [batch, height, width, self.channels] if self.takes_images else [batch, self.channels, height, width]

    @functools.cached_property
    def digest(self) -> str:
        """A hash of graph and weights: what was compiled or measured for one network is of no use to another.

        Both files are read when it is first asked for.
        """
        found = hashlib.sha256()
        for file in (self.program, self.params):
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    found.update(block)
        return found.hexdigest()[:16]


def read(folder: str | Path) -> Bundle:
    """Read a folder that `hrfamily export` or PaddleSeg's export wrote, given as itself or as its deploy.yaml.

    Raises:
        UserError: it is no such folder, a file is missing, or the description lacks or garbles something.
    """
    description = _description(Path(folder).expanduser())
    deploy = _deploy(description)
    program = description.parent / str(deploy.get("model", "model.pdmodel"))
    if not program.is_file() and program.with_suffix(".json").is_file():
        program = program.with_suffix(".json")
    params = description.parent / str(deploy.get("params", "model.pdiparams"))
    for file in (program, params):
        if not file.is_file():
            raise UserError(f"{description} names {file.name}, which is not there; export the network again")
    onnx = program.with_suffix(".onnx")
    names, colors = _classes(deploy, description)
    return Bundle(
        description=description,
        program=program,
        params=params,
        onnx=onnx if onnx.is_file() else None,
        transforms=_transforms(deploy, description),
        input_shape=_input_shape(deploy, description),
        output=_output(deploy, description),
        takes_images=_choice(deploy, "input_layout", ("NCHW", "NHWC"), description) == "NHWC",
        dtype=_choice(deploy, "input_dtype", ("float32", "uint8"), description),
        image_dtype=_image_dtype(deploy, description),
        native=_choice(deploy, "output_size", ("image", "native"), description) == "native",
        class_names=names,
        class_colors=colors,
        temperature=_temperature(deploy, description),
    )


def _description(path: Path) -> Path:
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return path
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder that `hrfamily export` wrote")
    found = [path / name for name in DESCRIPTIONS if (path / name).is_file()]
    if not found:
        raise UserError(
            f"{path} is no exported network: it has no {DESCRIPTIONS[0]}; give what `hrfamily export` wrote"
        )
    return found[0]


def _deploy(description: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(description.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{description} is not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"{description}: {error.strerror}") from None
    deploy = content.get("Deploy") if isinstance(content, dict) else None
    if not isinstance(deploy, dict):
        raise UserError(f"{description} has no section Deploy; export the network again")
    return deploy


def _transforms(deploy: Mapping[str, Any], description: Path) -> tuple[Mapping[str, Any], ...]:
    transforms = deploy.get("transforms") or []
    if not isinstance(transforms, list) or not all(isinstance(item, dict) and "type" in item for item in transforms):
        raise UserError(f"{description}: transforms must be a list of entries with a type each, not {transforms!r}")
    return tuple(transforms)


def _image_dtype(deploy: Mapping[str, Any], description: Path) -> str | None:
    """As written, else what NormalizeBands says; a graph that normalises by itself has none among its transforms."""
    said = [item.get("dtype", "uint8") for item in deploy.get("transforms") or [] if item["type"] == "NormalizeBands"]
    found = deploy.get("image_dtype") or next(iter(said), None)
    if not isinstance(found, (str, type(None))):
        raise UserError(f"{description}: image_dtype is {found!r}; write a type of values, such as uint16")
    return found


def _input_shape(deploy: Mapping[str, Any], description: Path) -> tuple[int, int, int, int]:
    shape = deploy.get("input_shape") or [-1, 3, -1, -1]
    extents = isinstance(shape, list) and len(shape) == 4 and all(_is_extent(extent) for extent in shape)
    if not extents or shape[1] < 1:
        raise UserError(f"{description}: input_shape {shape!r} must be batch, channels, height, width (-1 is open)")
    return tuple(shape)


def _is_extent(value: Any) -> bool:
    return isinstance(value, int) and (value == -1 or value > 0)


def _output(deploy: Mapping[str, Any], description: Path) -> str:
    found = deploy.get("output_op")
    if found not in MEANINGS:
        raise UserError(f"{description}: output_op is {found!r}; write what the graph ends in: {', '.join(MEANINGS)}")
    return MEANINGS[found]


def _temperature(deploy: Mapping[str, Any], description: Path) -> float:
    value = deploy.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise UserError(f"{description}: temperature is {value!r}; give a number above 0, 1 for logits as they are")
    return float(value)


def _choice(deploy: Mapping[str, Any], key: str, options: tuple[str, ...], description: Path) -> str:
    """One of the options, the first where the description says nothing, as PaddleSeg's."""
    value = deploy.get(key, options[0])
    if value not in options:
        raise UserError(f"{description}: {key} is {value!r}; there are {', '.join(options)}")
    return value


def _classes(deploy: Mapping[str, Any], description: Path) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    names = deploy.get("class_names") or [f"class {index}" for index in range(_MOST_CLASSES)]
    colors = deploy.get("class_colors") or palette(len(names))
    if not isinstance(names, list) or len(names) != len(colors) or not all(_is_color(color) for color in colors):
        raise UserError(f"{description}: class_names and class_colors must be a name and [red, green, blue] per class")
    return tuple(map(str, names)), tuple(map(tuple, colors))


def _is_color(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(v, int) and 0 <= v < 256 for v in value)
    )
