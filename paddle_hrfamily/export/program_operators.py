"""Paddle's functions, made to work in the program form while a network is exported.

Paddle 3.3 bound `paddle.matmul` and some fifty others straight to kernels that know tensors and the new intermediate
form, but not the variables of a program ("must be Value, but got Variable"). The operators themselves are still there:
each row of OPERATORS appends one, and within a `with appending()` the rows take the place of those functions.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Union

import paddle
from paddle import _C_ops
from paddle.base.framework import Variable, convert_np_dtype_to_dtype_
from paddle.base.layer_helper import LayerHelper

from paddle_hrfamily.patching import patched

Axes = Union[int, Sequence[int], None]
# PyTorch's names for the same arguments, which Paddle 3.3 takes as well.
ALIASES = {"input": "x", "other": "y", "dim": "axis", "keepdims": "keepdim", "tensor": "x"}


def _append(
    kind: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any], dtype: object = None, *, out: str = "Out"
) -> Variable:
    """The result of an operator appended to the current program; its dtype is the first input's unless given."""
    helper = LayerHelper(kind)
    slots = {slot: value if isinstance(value, (list, tuple)) else [value] for slot, value in inputs.items()}
    first = next(iter(slots.values()))[0]
    result = helper.create_variable_for_type_inference(first.dtype if dtype is None else dtype)
    helper.append_op(type=kind, inputs=slots, outputs={out: [result]}, attrs=dict(attributes))
    return result


def _unary(kind: str, dtype: str | None = None) -> Callable[..., Variable]:
    return lambda x, name=None: _append(kind, {"X": x}, {}, dtype)


def _binary(kind: str, dtype: str | None = None) -> Callable[..., Variable]:
    return lambda x, y, name=None: _append(kind, {"X": x, "Y": y}, {}, dtype)


def _reduction(kind: str, dtype: str | None = None) -> Callable[..., Variable]:
    return lambda x, axis=None, keepdim=False, name=None: _append(
        kind, {"X": x}, {**_axes(x, axis), "keep_dim": keepdim}, dtype
    )


def _axes(x: Variable, axis: Axes) -> dict[str, Any]:
    axes = [axis] if isinstance(axis, int) else list(axis or range(len(x.shape)))
    return {"dim": axes, "reduce_all": len(axes) == len(x.shape)}


def _extreme_index(kind: str) -> Callable[..., Variable]:
    def index(x: Variable, axis: int | None = None, keepdim: bool = False, dtype: Any = "int64", name: str = "") -> Any:
        code = convert_np_dtype_to_dtype_(dtype)
        flatten = axis is None
        attributes = {"axis": -1 if flatten else axis, "keepdims": keepdim, "flatten": flatten, "dtype": code}
        return _append(kind, {"X": x}, attributes, code)

    return index


def _triangle(lower: bool) -> Callable[..., Variable]:
    return lambda x, diagonal=0, name=None: _append("tril_triu", {"X": x}, {"diagonal": diagonal, "lower": lower})


def _matmul(
    x: Variable, y: Variable, transpose_x: bool = False, transpose_y: bool = False, name: str | None = None
) -> Variable:
    return _append("matmul_v2", {"X": x, "Y": y}, {"trans_x": transpose_x, "trans_y": transpose_y})


def _sum(x: Variable, axis: Axes = None, dtype: Any = None, keepdim: bool = False, name: str | None = None) -> Variable:
    if dtype is None and x.dtype in (paddle.bool, paddle.int32):
        dtype = "int64"
    attributes = {**_axes(x, axis), "keep_dim": keepdim}
    if dtype is None:
        return _append("reduce_sum", {"X": x}, attributes)
    code = convert_np_dtype_to_dtype_(dtype)
    return _append("reduce_sum", {"X": x}, {**attributes, "in_dtype": x.dtype, "out_dtype": code}, code)


def _logsumexp(x: Variable, axis: Axes = None, keepdim: bool = False, name: str | None = None) -> Variable:
    axes = _axes(x, axis)
    return _append("logsumexp", {"X": x}, {"axis": axes["dim"], "reduce_all": axes["reduce_all"], "keepdim": keepdim})


def _expand_as(x: Variable, y: Variable, name: str | None = None) -> Variable:
    return _append("expand_as_v2", {"X": x, "Y": y}, {"target_shape": y.shape})


def _roll(x: Variable, shifts: int | Sequence[int], axis: Axes = None, name: str | None = None) -> Variable:
    axes = [] if axis is None else _axes(x, axis)["dim"]
    return _append("roll", {"X": x}, {"shifts": [shifts] if isinstance(shifts, int) else list(shifts), "axis": axes})


def _diagonal(x: Variable, offset: int = 0, axis1: int = 0, axis2: int = 1, name: str | None = None) -> Variable:
    return _append("diagonal", {"Input": x}, {"offset": offset, "axis1": axis1, "axis2": axis2})


def _isclose(
    x: Variable, y: Variable, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False, name: str | None = None
) -> Variable:
    attributes = {"rtol": str(rtol), "atol": str(atol), "equal_nan": equal_nan}  # doubles, kept as text
    return _append("isclose", {"Input": x, "Other": y}, attributes, "bool")


def _index_put(
    x: Variable, indices: Sequence[Variable], value: Variable, accumulate: bool = False, name: str | None = None
) -> Variable:
    inputs = {"x": x, "indices": list(indices), "value": value}
    return _append("index_put", inputs, {"accumulate": accumulate}, out="out")


def _index_put_(
    x: Variable, indices: Sequence[Variable], value: Variable, accumulate: bool = False, name: str | None = None
) -> Variable:
    return paddle.assign(_index_put(x, indices, value, accumulate), x)


def _round(x: Variable, decimals: int = 0, name: str | None = None) -> Variable:
    return _append("round", {"X": x}, {"decimals": decimals})


def _gelu(x: Variable, approximate: bool | str = False, name: str | None = None) -> Variable:
    return _append("gelu", {"X": x}, {"approximate": approximate in (True, "tanh")})


def _softplus(x: Variable, beta: float = 1, threshold: float = 20, name: str | None = None) -> Variable:
    return _append("softplus", {"X": x}, {"beta": float(beta), "threshold": float(threshold)})


def _grid_sample(
    x: Variable,
    grid: Variable,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = True,
    name: str | None = None,
) -> Variable:
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    return _append("grid_sampler", {"X": x, "Grid": grid}, attributes, out="Output")


_CURVES = ("acos", "acosh", "asin", "atanh", "cos", "cosh", "sigmoid", "sin", "sinh", "tanh")
_POINTWISE = ("abs", "ceil", "exp", "expm1", "floor", "log", "log10", "log1p", "log2", "rsqrt", "sign", "sqrt")
# Paddle's function -> what appends its operator.
OPERATORS: dict[str, Callable[..., Variable]] = {
    **{name: _unary(name) for name in (*_CURVES, *_POINTWISE)},
    **{name: _unary(f"{name}_v2", "bool") for name in ("isfinite", "isinf", "isnan")},
    **{name: _binary(name) for name in ("bmm", "dot")},
    **{name: _binary(name, "bool") for name in ("greater_than", "logical_and", "logical_or", "logical_xor")},
    **{name: _reduction(f"reduce_{name}") for name in ("amax", "amin")},
    **{name: _reduction(f"reduce_{name}", "bool") for name in ("all", "any")},
    "argmax": _extreme_index("arg_max"),
    "argmin": _extreme_index("arg_min"),
    "diagonal": _diagonal,
    "expand_as": _expand_as,
    "gelu": _gelu,
    "grid_sample": _grid_sample,
    "index_put": _index_put,
    "index_put_": _index_put_,
    "isclose": _isclose,
    "logical_not": _unary("logical_not", "bool"),
    "logsumexp": _logsumexp,
    "matmul": _matmul,
    "maximum": _binary("elementwise_max"),
    "minimum": _binary("elementwise_min"),
    "multiply": _binary("elementwise_mul"),
    "roll": _roll,
    "round": _round,
    "softplus": _softplus,
    "sum": _sum,
    "tril": _triangle(lower=True),
    "triu": _triangle(lower=False),
}


@contextmanager
def appending() -> Iterator[None]:
    """Within the `with`, Paddle's own functions and methods append operators while a program is being built.

    In dynamic mode they do what they always do, and afterwards everything is as it was.
    """
    kernels = {id(kernel): name for name in OPERATORS if (kernel := getattr(_C_ops, name, None)) is not None}
    functions = {name: _function(name) for name in kernels.values()}
    owners = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "paddle"]
    with ExitStack() as stack:
        for owner in (*owners, Variable):  # the kernels have been imported by name all over Paddle
            bound = {key: functions[kernels[id(value)]] for key, value in vars(owner).items() if id(value) in kernels}
            stack.enter_context(patched(owner, **bound))
        yield


def _function(name: str) -> Callable[..., Any]:
    kernel, append = getattr(_C_ops, name), OPERATORS[name]

    @functools.wraps(append)
    def function(*args: Any, **kwargs: Any) -> Any:
        if paddle.in_dynamic_mode():
            return kernel(*args, **kwargs)
        return append(*args, **{ALIASES.get(key, key): value for key, value in kwargs.items()})

    return paddle.jit.not_to_static(function)
