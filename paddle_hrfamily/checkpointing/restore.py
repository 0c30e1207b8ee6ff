"""Tensors of a checkpoint back into a model and its optimizer, or an error that says why they do not fit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddle_hrfamily.checkpointing.snapshot import EMA_PARAMETERS, OPTIMIZER, PARAMETERS
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.weights import read_object
from paddle_hrfamily.weights.files import PADDING_KEY

NAME_TABLE = "StructuredToParameterName@@"  # paddle.save's table: key in the state dict -> the parameter's own name


def restore_model(model: paddle.nn.Layer, folder: Path) -> dict[str, str]:
    """Set every parameter and buffer. Returns the parameters' names in the saving process, by key.

    Raises:
        UserError: another network's checkpoint, or a file that is no checkpoint.
    """
    content = _read(folder / PARAMETERS)
    names = content.pop(NAME_TABLE, {})
    content.pop(PADDING_KEY, None)
    _fill(model, content, folder / PARAMETERS)
    return names


def restore_ema(model: paddle.nn.Layer, folder: Path) -> None:
    """Set every parameter and buffer of the averaged model. Raises UserError as `restore_model`."""
    content = _read(folder / EMA_PARAMETERS)
    content.pop(NAME_TABLE, None)
    content.pop(PADDING_KEY, None)
    _fill(model, content, folder / EMA_PARAMETERS)


def restore_optimizer(
    optimizer: paddle.optimizer.Optimizer, model: paddle.nn.Layer, folder: Path, names: dict[str, str]
) -> None:
    """Set accumulators and learning-rate schedule.

    Accumulators are stored under parameter names that Paddle counts up per process (`conv2d_7.w_0`), and one of an
    unknown name would be dropped in silence; `names`, from `restore_model`, tells which parameter each belonged to.

    Raises:
        UserError: the optimizer was of another kind, or belonged to other parameters.
    """
    path = folder / OPTIMIZER
    current = {key: tensor.name for key, tensor in model.state_dict().items()}
    renamed = {before: current[key] for key, before in names.items() if key in current}
    content = _read(path)
    schedule = content.pop("LR_Scheduler", None)
    masters = content.pop("master_weights", None)
    content.pop(NAME_TABLE, None)
    known = {*renamed, *current.values()}
    strangers = [key for key in content if _owner(key, known) is None]
    if strangers:
        raise UserError(f"{path} belongs to other parameters: {strangers[0]} fits none of this network's")
    state: dict[str, Any] = {_rename(key, renamed): value for key, value in content.items()}
    if schedule is not None:
        state["LR_Scheduler"] = schedule
    elif isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
        raise UserError(f"{path} holds no learning-rate schedule, and this config has one")
    if masters is not None:
        state["master_weights"] = {_rename(key, renamed): value for key, value in masters.items()}
    optimizer.set_state_dict(state)


def _fill(model: paddle.nn.Layer, content: dict[str, np.ndarray], path: Path) -> None:
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    found = {key: list(np.shape(value)) for key, value in content.items()}
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise UserError(
            f"{path} is a checkpoint of another network: {len(wrong)} of {len(expected)} tensors differ, first {key} "
            f"({found.get(key, 'absent')} there, {expected.get(key, 'absent')} here); resume with the config it was "
            f"trained with, or load it through `pretrained`"
        )
    model.set_state_dict(content)


def _owner(key: str, names: Collection[str]) -> str | None:
    """The parameter that `conv2d_7.w_0_velocity_0` belongs to: the longest of `names` that it continues with a `_`."""
    while key not in names:
        key, separator, _ = key.rpartition("_")
        if not separator:
            return None
    return key


def _rename(key: str, renamed: dict[str, str]) -> str:
    """`conv2d_7.w_0_velocity_0` -> `conv2d_2.w_0_velocity_0`, if conv2d_7.w_0 is called conv2d_2.w_0 now."""
    owner = _owner(key, renamed)
    return key if owner is None else renamed[owner] + key[len(owner) :]


def _read(path: Path) -> dict[str, Any]:
    content = read_object(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    # paddle.save stores a tensor outside a plain state dict as (name, array)
    return {key: value[1] if isinstance(value, tuple) and len(value) == 2 else value for key, value in content.items()}
