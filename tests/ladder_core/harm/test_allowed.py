"""The list of operators: what it must hold, and what it must not."""

import re

import pytest
import torch

from ladder_core.harm import check_model, load_checked_script
from ladder_core.harm.allowed import ALLOWED_IR, ALLOWED_OPERATORS, is_allowed
from tests.ladder_core.classifier.zoo import SMALL, saved

REGISTERED = {schema.name for schema in torch._C._jit_get_all_schemas()}
# What the names of operators that reach beyond their arguments are made of.
BEYOND = re.compile(
    r"file|save|load|fork|await|wait|rpc|remote|future|thread|stream|event|process|store|group|c10d|record"
    r"|backward|seed|generator|cudnn|cufft|cuda_|mkldnn|quantized|prepack|custom|python|ignored|pickle|owner"
    r"|set_data|set_$|resize|as_strided|pin_memory|unsafe_index|nested_|sparse_|_test",
    re.IGNORECASE,
)
HARMLESS = {
    "aten::affine_grid_generator",
    "aten::group_norm",
    "aten::group_norm_",
    "aten::native_group_norm",
    "aten::native_group_norm_",
    "aten::manual_seed",
    "aten::manual_seed_",
    "prim::is_mkldnn",
    "prim::is_quantized",
    "prim::is_sparse_csr",
}


def test_no_allowed_operator_reaches_beyond_its_arguments():
    assert {name for name in ALLOWED_IR & REGISTERED if BEYOND.search(name)} <= HARMLESS


def test_every_allowed_operator_exists():
    """A misspelt name would refuse the operator that was meant."""
    in_place = {name for name in ALLOWED_OPERATORS if name.endswith("_")}
    assert sorted(ALLOWED_OPERATORS - in_place - REGISTERED) == []


@pytest.mark.parametrize(
    "operator",
    [
        "aten::from_file",
        "aten::save",
        "aten::set_",
        "aten::resize_",
        "aten::wait",
        "prim::fork",
        "prim::rpc_async",
        "prim::PythonOp",
        "quantized::linear_unpack",
        "",
        "aten::",
        "::relu",
        "aten::relu.out",
    ],
)
def test_what_is_refused(operator):
    assert not is_allowed(operator)


@pytest.mark.parametrize(("name", "way"), [(name, way) for name in SMALL for way in SMALL[name].ways])
def test_the_zoo_passes_every_wall(name, way, tmp_path):
    path = saved(name, way, tmp_path / "model")
    check_model(path)
    if way != "pt2":
        load_checked_script(path)
