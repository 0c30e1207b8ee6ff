"""Triton's model repository: a configuration that follows Triton's own schema and says what the graph is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.conftest import CLASSES, Describe

if not find_spec("onnx"):
    pytest.skip("needs onnx", allow_module_level=True)

import onnx
from google.protobuf import text_format
from onnx import TensorProto, helper

from hrfamily_deploy.convert import triton_config, triton_repository
from hrfamily_deploy.convert.triton_config import Options
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.scripts import command_line

OPEN = ((TensorProto.FLOAT, ["batch", 3, "height", "width"]), (TensorProto.INT32, ["batch", "out_h", "out_w"]))
FIXED = ((TensorProto.FLOAT, [2, 3, 64, 96]), (TensorProto.FLOAT, [2, 5, 64, 96]))
BYTES = ((TensorProto.UINT8, ["batch", "height", "width", 3]), (TensorProto.UINT8, ["batch", "out_h", "out_w"]))
OPEN_BATCH = ((TensorProto.FLOAT, ["batch", 3, 64, 96]), (TensorProto.INT64, ["batch", 64, 96]))
Tensor = tuple[int, Sequence[object]]


def graph(image: Tensor, answer: Tensor) -> onnx.GraphProto:
    """What is said of input and output is all that matters of it."""
    node = helper.make_node("Cast", ["x"], ["labels"], to=answer[0])
    inputs, outputs = helper.make_tensor_value_info("x", *image), helper.make_tensor_value_info("labels", *answer)
    return helper.make_graph([node], "network", [inputs], [outputs])


def parsed(text: str) -> object:
    model_config = triton_config.schema()
    if model_config is None:
        pytest.skip("needs tritonclient[grpc], which has Triton's schema")
    return text_format.Parse(text, model_config())


def made(kind: tuple[Tensor, Tensor], **options: object) -> object:
    """Triton's view of the configuration that comes out."""
    text = triton_config.as_text(triton_config.make(graph(*kind), "street", CLASSES, Options(**options)))
    triton_config.check(text)
    return parsed(text)


@pytest.mark.parametrize(
    ("kind", "most", "image", "answer"),
    [
        (OPEN, 8, ("TYPE_FP32", [3, -1, -1]), ("TYPE_INT32", [-1, -1])),
        (FIXED, 0, ("TYPE_FP32", [2, 3, 64, 96]), ("TYPE_FP32", [2, 5, 64, 96])),
        (BYTES, 8, ("TYPE_UINT8", [-1, -1, 3]), ("TYPE_UINT8", [-1, -1])),
        (OPEN_BATCH, 8, ("TYPE_FP32", [3, 64, 96]), ("TYPE_INT64", [64, 96])),
    ],
    ids=["open", "fixed", "bytes", "open batch"],
)
def test_types_and_shapes_are_those_of_the_graph(kind, most: int, image: tuple, answer: tuple) -> None:
    config = made(kind)
    assert config.name == "street" and config.backend == "onnxruntime" and config.max_batch_size == most
    for tensors, name, (dtype, dims) in ((config.input, "x", image), (config.output, "labels", answer)):
        (tensor,) = tensors
        of_type = type(config).DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"].enum_type
        assert (tensor.name, list(tensor.dims)) == (name, dims)
        assert of_type.values_by_number[tensor.data_type].name == dtype
    assert config.HasField("dynamic_batching") is (most > 1)
    assert config.version_policy.latest.num_versions == 1
    assert json.loads(config.parameters["class_names"].string_value) == list(CLASSES)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (OPEN, {}, [(1, [3, 512, 1024]), (8, [3, 512, 1024])]),
        (OPEN, {"max_batch": 1, "sizes": [(64, 96), (32, 48)]}, [(1, [3, 32, 48]), (1, [3, 64, 96])]),
        (BYTES, {"max_batch": 2, "sizes": [(64, 96)]}, [(1, [64, 96, 3]), (2, [64, 96, 3])]),
        (FIXED, {}, [(1, [2, 3, 64, 96])]),
        (OPEN_BATCH, {"max_batch": 4}, [(1, [3, 64, 96]), (4, [3, 64, 96])]),
    ],
)
def test_it_is_warm_before_the_first_request(kind, options: dict, expected: list) -> None:
    warm_up = made(kind, **options).model_warmup
    assert [(run.batch_size, list(run.inputs["x"].dims)) for run in warm_up] == expected
    assert all(run.inputs["x"].zero_data for run in warm_up)
    assert len({run.name for run in warm_up}) == len(expected)


def test_processors_and_gpus() -> None:
    config = made(OPEN, instances=3, threads=2, delay_ms=1.5)
    assert config.instance_group[0].count == 3 and config.instance_group[0].kind == config.instance_group[0].KIND_CPU
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert not config.HasField("optimization")
    config = made(OPEN, device="gpu", tensorrt="fp16", cache="/cache", sizes=[(512, 512), (256, 1024)], max_batch=4)
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt" and dict(accelerator.parameters) == {
        "precision_mode": "FP16",
        "trt_profile_min_shapes": "x:1x3x256x512",
        "trt_profile_opt_shapes": "x:4x3x512x1024",
        "trt_profile_max_shapes": "x:4x3x512x1024",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/cache",
    }
    (accelerator,) = made(
        FIXED, device="gpu", tensorrt="fp32"
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert dict(accelerator.parameters) == {"precision_mode": "FP32"}


def test_names_of_classes_may_be_anything() -> None:
    names = ['a "b" \\ c', "Straße", "d\ne"]
    config = parsed(triton_config.as_text(triton_config.make(graph(*OPEN), "x", names, Options())))
    assert json.loads(config.parameters["class_names"].string_value) == names


def test_the_repository(describe: Describe, tmp_path: Path, capsys) -> None:
    folder, repository = describe(), tmp_path / "new" / "repository"
    onnx.save(helper.make_model(graph(*OPEN)), folder / "model.onnx")
    for instances in (1, 2):  # the second time over the first
        arguments = [str(folder), str(repository), "--name", "street", "--instances", str(instances)]
        assert command_line.main("triton", arguments) == 0
        files = {str(file.relative_to(repository)) for file in repository.rglob("*") if file.is_file()}
        assert files == {"street/config.pbtxt", "street/1/model.onnx"}
        assert (repository / "street/1/model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
        text = (repository / "street/config.pbtxt").read_text()
        assert text in capsys.readouterr().out
        assert parsed(text).instance_group[0].count == instances
    assert triton_repository.write(folder, repository).name == folder.name


def test_what_does_not_follow_the_schema_is_not_written() -> None:
    parsed("")
    for text in ('nam: "x"', "max_batch_size: many", "instance_group { kind: KIND_TPU }"):
        with pytest.raises(UserError, match="schema"):
            triton_config.check(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "a/b"], "letters"),
        (["--name", "../b"], "letters"),
        (["--device", "tpu"], "cpu, gpu"),
        (["--tensorrt", "fp16"], "--device gpu"),
        (["--device", "gpu", "--tensorrt", "int4"], "fp32, fp16"),
        (["--max-batch", "0"], "--max-batch 0"),
        (["--max-batch", "4"], "takes 2 at a time"),
        (["--instances", "0"], "--instances 0"),
        (["--delay", "-1"], "--delay -1"),
        (["--sizes", "12"], "--sizes"),
        (["--sizes", "0x5"], "--sizes"),
    ],
)
def test_what_cannot_be_is_one_line(describe: Describe, tmp_path: Path, capsys, arguments: list, words: str) -> None:
    folder = describe("fixed")
    onnx.save(helper.make_model(graph(*FIXED)), folder / "model.onnx")
    assert command_line.main("triton", [str(folder), str(tmp_path / "repository"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert not (tmp_path / "repository").exists()


def test_without_an_onnx_file_or_with_a_damaged_one(describe: Describe, tmp_path: Path) -> None:
    folder = describe()
    with pytest.raises(UserError, match="run: hrfamily onnx"):
        triton_repository.write(folder, tmp_path / "repository")
    (folder / "model.onnx").write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(UserError, match="damaged"):
        triton_repository.write(folder, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()
