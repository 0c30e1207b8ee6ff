"""Each function that Paddle 3.3 bound to its kernels is exported alone, and computes what it does on tensors."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle.base.framework import Variable

from paddle_hrfamily.export import program_operators, static_graph

pytestmark = pytest.mark.line
NOISE = np.random.RandomState(0)
X = NOISE.uniform(0.1, 0.9, (2, 3, 4)).astype("float32")
SIGNED = NOISE.standard_normal((2, 3, 4)).astype("float32")
Y = NOISE.standard_normal((2, 3, 4)).astype("float32")
SQUARE = NOISE.standard_normal((2, 4, 4)).astype("float32")
WHOLE = NOISE.randint(0, 3, (2, 3, 4))
ODD = np.array([[1.0, np.nan, np.inf], [-np.inf, 0.0, 1.0 + 1e-6]], "float32")
IMAGE, GRID = X[:, :, None].repeat(5, axis=2), NOISE.uniform(-1.2, 1.2, (2, 6, 3, 2)).astype("float32")

Case = tuple[Callable[..., paddle.Tensor], tuple[np.ndarray, ...]]


def with_options(name: str, x: np.ndarray, *options: dict[str, object]) -> list[Case]:
    """The function of one argument, called plainly and with each set of options."""
    return [(functools.partial(getattr(paddle, name), **option), (x,)) for option in ({}, *options)]


POSITIVE = ("acos", "asin", "atanh", "cosh", "expm1", "log", "log10", "log1p", "log2", "rsqrt", "sinh", "sqrt")
REAL = ("abs", "ceil", "cos", "exp", "floor", "sign", "sin", "tanh", "round")
CASES: dict[str, list[Case]] = {
    **{name: with_options(name, X) for name in POSITIVE},
    **{name: with_options(name, 3 * SIGNED) for name in REAL},
    **{name: with_options(name, ODD) for name in ("isfinite", "isinf", "isnan")},
    **{name: [(getattr(paddle, name), (SIGNED, Y))] for name in ("maximum", "minimum", "multiply")},
    **{
        name: with_options(name, SIGNED, {"axis": -1}, {"axis": [0, 2], "keepdim": True})
        for name in ("amax", "amin", "sum", "logsumexp")
    },
    **{name: with_options(name, WHOLE > 0, {"axis": 1}) for name in ("all", "any")},
    **{
        name: with_options(name, SIGNED, {"axis": 1}, {"axis": -1, "keepdim": True, "dtype": "int32"})
        for name in ("argmax", "argmin")
    },
    **{name: with_options(name, SQUARE, {"diagonal": -1}) for name in ("tril", "triu")},
    "acosh": [(paddle.acosh, (X + 1,))],
    "bmm": [(paddle.bmm, (SIGNED, SQUARE))],
    "diagonal": [(lambda x: paddle.diagonal(x, offset=1, axis1=1, axis2=2), (SQUARE,))],
    "dot": [(paddle.dot, (X[0], Y[0]))],
    "expand_as": [(paddle.expand_as, (X[:, :1], Y))],
    "gelu": [(F.gelu, (SIGNED,)), (lambda x: F.gelu(x, approximate=True), (SIGNED,))],
    "greater_than": [(paddle.greater_than, (X, SIGNED)), (lambda x, y: x > y, (X, SIGNED))],
    "grid_sample": [
        (F.grid_sample, (IMAGE, GRID)),
        (lambda x, g: F.grid_sample(x, g, "nearest", "border", align_corners=False), (IMAGE, GRID)),
    ],
    "index_put": [
        (lambda x, i: paddle.index_put(x, (i,), paddle.full([1], 5.0)), (X, np.array([1]))),
        (lambda x, i: paddle.index_put(x, (i,), paddle.full([1], 5.0), accumulate=True), (X, np.array([1]))),
    ],
    "index_put_": [(lambda x, i: paddle.index_put_(x * 2, (i,), paddle.full([1], 5.0)), (X, np.array([0])))],
    "isclose": [
        (paddle.isclose, (ODD, ODD[::-1])),
        (lambda x, y: paddle.isclose(x, y, rtol=1e-3, equal_nan=True), (ODD, ODD * np.float32(1.0001))),
    ],
    "logical_and": [(paddle.logical_and, (WHOLE > 0, WHOLE > 1))],
    "logical_not": [(paddle.logical_not, (WHOLE > 0,))],
    "logical_or": [(paddle.logical_or, (WHOLE > 0, WHOLE > 1))],
    "logical_xor": [(paddle.logical_xor, (WHOLE > 0, WHOLE > 1))],
    "matmul": [
        (paddle.matmul, (SIGNED, SQUARE)),
        (lambda x, y: paddle.matmul(x, y, transpose_y=True), (SIGNED, Y)),
        (lambda x, y: x.transpose([0, 2, 1]) @ y, (SIGNED, Y)),
        (lambda x, y: x.matmul(y, transpose_x=True), (SIGNED, Y)),
    ],
    "roll": [(lambda x: paddle.roll(x, 2), (X,)), (lambda x: paddle.roll(x, [1, -1], axis=[0, 2]), (X,))],
    "sigmoid": [(F.sigmoid, (SIGNED,)), (paddle.nn.Sigmoid(), (SIGNED,))],
    "softplus": [(F.softplus, (SIGNED,)), (lambda x: F.softplus(x, beta=2), (SIGNED,))],  # oneDNN knows no threshold
}
CASES["sum"] += [
    (paddle.sum, (WHOLE.astype("int32"),)),
    (lambda x: (x > 0).sum(axis=1), (SIGNED,)),
    (lambda x: x.sum(1, "float64"), (SIGNED,)),
]


class Alone(paddle.nn.Layer):
    """A network of one function; and a parameter beside it, for without any, the file of parameters is not written."""

    def __init__(self, function: Callable[..., paddle.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.parameter = self.create_parameter([1])

    def forward(self, x: paddle.Tensor, y: paddle.Tensor | None = None) -> tuple[paddle.Tensor, paddle.Tensor]:
        return self.function(x) if y is None else self.function(x, y), self.parameter * 2


def exported(function: Callable[..., paddle.Tensor], inputs: tuple[np.ndarray, ...], folder: Path) -> np.ndarray:
    specs = [paddle.static.InputSpec([-1, *x.shape[1:]], str(x.dtype), name=f"x{i}") for i, x in enumerate(inputs)]
    static_graph.write(Alone(function), specs, folder / "model")
    return static_graph.load(folder / "model")(*inputs)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [pytest.param(*case, id=f"{name}-{i}") for name, cases in sorted(CASES.items()) for i, case in enumerate(cases)],
)
def test_a_function_exported_alone(function: Callable, inputs: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    expected = function(*map(paddle.to_tensor, inputs)).numpy()
    result = exported(function, inputs, tmp_path)
    assert result.dtype == expected.dtype and result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_every_operator_has_a_case() -> None:
    assert set(CASES) == set(program_operators.OPERATORS)


def test_every_function_that_paddle_bound_to_its_kernels_has_an_operator() -> None:
    patch = pytest.importorskip("paddle.base.dygraph.generated_tensor_methods_patch", reason="Paddle before 3.3")
    bound = {name for names in (patch.methods_map, patch.funcs_map, patch.nn_funcs_map) for name, _ in names}
    assert bound <= set(program_operators.OPERATORS)


def test_nothing_is_changed_afterwards() -> None:
    def everything() -> dict[str, dict[str, object]]:
        modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "paddle"}
        return {name: dict(vars(owner)) for name, owner in (*modules.items(), ("Variable", Variable))}

    before = everything()
    with pytest.raises(RuntimeError, match="inside"), program_operators.appending():
        raise RuntimeError("inside")
    after = everything()
    changed = [(owner, key) for owner in before for key in before[owner] if before[owner][key] is not after[owner][key]]
    assert not changed
    assert all(before[owner].keys() == after[owner].keys() for owner in before)


def test_tensors_are_computed_as_ever() -> None:
    x, y = paddle.to_tensor(SIGNED), paddle.to_tensor(SQUARE)
    expected = paddle.matmul(x, y).numpy()
    with program_operators.appending():
        assert (paddle.matmul(x, y).numpy() == expected).all()
        assert (paddle.matmul(input=x, other=y).numpy() == expected).all() if paddle.__version__ > "3.3" else True


def test_other_names_of_arguments(tmp_path: Path) -> None:
    if not paddle.__version__.startswith("3.3"):
        pytest.skip("input, other and dim are Paddle 3.3's")
    result = exported(lambda x, y: paddle.matmul(input=x, other=y).sum(dim=1, keepdim=True), (SIGNED, SQUARE), tmp_path)
    np.testing.assert_allclose(result, (SIGNED @ SQUARE).sum(1, keepdims=True), rtol=1e-5, atol=1e-6)
