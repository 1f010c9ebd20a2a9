"""Numbers, texts and lists are TorchScript's: its own interpreter says what each operator returns."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder_core.classifier import load_classifier
from ladder_core.classifier.operators import python_function, scalar_function
from ladder_core.classifier.scalars import MAX_ITEMS
from ladder_core.errors import ModelError
from ladder_core.harm import check_model
from ladder_schema.errors import ErrorCode
from tests.hostile.programs import says

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
SMALL = st.integers(-9, 9)
FLOATS = st.floats(allow_nan=False)
IMAGES = torch.rand(4, 1, 8, 8)


def torchscript(schema: str):
    """An operator as TorchScript's interpreter runs it, by its schema."""
    name, _, rest = schema.partition("(")
    kinds, result = rest.split(") -> ")
    inputs = [f"%{n} : {kind}" for n, kind in enumerate(kinds.split(", "))]
    operands = ", ".join(text.partition(" ")[0] for text in inputs)
    graph = f"graph({', '.join(inputs)}):\n  %r : {result} = {name}({operands})\n  return (%r)"
    return torch._C._create_function_from_graph("operator", torch._C.parse_ir(graph))


@pytest.mark.parametrize("operator", ["add", "sub", "mul"])
@settings(deadline=None)
@given(first=INTEGERS, second=INTEGERS)
def test_integers_wrap_around(operator, first, second):
    expected = torchscript(f"aten::{operator}(int, int) -> int")(first, second)
    assert scalar_function(f"aten::{operator}", "int")(first, second) == expected


@settings(deadline=None)
@given(value=INTEGERS | st.just(-(1 << 63)))
def test_the_least_integer_has_no_negative(value):
    assert scalar_function("aten::neg", "int")(value) == torchscript("aten::neg(int) -> int")(value)


@settings(deadline=None)
@given(value=FLOATS | st.sampled_from([math.nan, 2.0**63, -(2.0**63)]))
def test_floats_beyond_integers_are_cut_off(value):
    assert scalar_function("aten::Int", "float")(value) == torchscript("aten::Int(float) -> int")(value)


@pytest.mark.parametrize(
    ("overload", "kinds", "base", "exponent"),
    [
        ("int", "int, int", INTEGERS, INTEGERS | SMALL),
        ("float", "float, float", FLOATS, FLOATS),
        ("int_float", "int, float", SMALL, FLOATS),
        ("float_int", "float, int", FLOATS, SMALL),
    ],
)
@settings(deadline=None)
@given(data=st.data())
def test_powers_are_of_double_precision(overload, kinds, base, exponent, data):
    operands = (data.draw(base), data.draw(exponent))
    ours = scalar_function("aten::pow", overload)
    try:
        expected = torchscript(f"aten::pow({kinds}) -> float")(*operands)
    except RuntimeError:
        with pytest.raises(ZeroDivisionError):
            ours(*operands)
    else:
        assert ours(*operands) == pytest.approx(expected, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "overload", "operands"),
    [
        ("aten::add", "str", ("a" * MAX_ITEMS, "a")),
        ("aten::add", "t", ([0] * MAX_ITEMS, [0])),
        ("aten::add_", "t", ([0] * MAX_ITEMS, [0])),
        ("aten::extend", "t", ([0] * MAX_ITEMS, [0])),
        ("aten::format", "", ("{}{}", "a" * MAX_ITEMS, "b")),
        ("aten::mul", "left_t", ([0], MAX_ITEMS + 1)),
        ("aten::mul", "right_", (MAX_ITEMS + 1, [0])),
        ("prim::rangelist", "", (1 << 62,)),
    ],
)
def test_texts_and_lists_stay_short(name, overload, operands):
    with pytest.raises(ValueError, match=f"at most {MAX_ITEMS}"):
        python_function(name, overload, takes_tensors=False)(*operands)


def test_a_power_is_odd_if_its_exponent_is_as_a_double():
    """2^53 + 1 is none, and becomes 2^53."""
    operands = (-2, (1 << 53) + 1)
    assert torchscript("aten::pow(int, int) -> float")(*operands) == math.inf
    assert scalar_function("aten::pow", "int")(*operands) == math.inf


def load(directory, *lines):
    path = directory / "model.pt"
    says(*lines)(path, directory / "outside")
    check_model(path)
    return load_classifier(path)


@pytest.mark.timeout(60)
def test_a_program_that_counts_on_wrapping_is_understood(tmp_path):
    """A linear congruential generator on the batch's size: 200 steps, each 63 bits longer in Python."""
    steps = [
        f"a{n + 1} = torch.add(torch.mul(a{n}, 6364136223846793005), 1442695040888963407)" for n in range(200)
    ]
    lines = ["a0 = torch.size(x, 0)", *steps, "x = torch.add(x, torch.remainder(a200, 7))"]
    assert load(tmp_path, *lines).probe(IMAGES).num_classes == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "lines",
    [
        [
            "a0 = [0, 0]",
            *(f"a{n + 1} = torch.add(a{n}, a{n})" for n in range(25)),
            "x = torch.add(x, torch.len(a25))",
        ],
        ["a = torch.mul([0, 0], torch.mul(torch.size(x, 0), 9999999))", "x = torch.add(x, torch.len(a))"],
    ],
    ids=["doubled", "repeated"],
)
def test_a_program_that_makes_a_long_list_is_refused(tmp_path, lines):
    with pytest.raises(ModelError, match="list or text of") as refusal:
        load(tmp_path, *lines).probe(IMAGES)
    assert refusal.value.code is ErrorCode.MODEL_REJECTS_IMAGES


@pytest.mark.timeout(60)
def test_a_large_power_takes_no_time(tmp_path):
    lines = ["a = torch.pow(torch.size(x, 0), 999999999999)", "x = torch.add(x, torch.div(1.0, a))"]
    assert load(tmp_path, *lines).probe(IMAGES).num_classes == 3
