"""Corrections for many comparisons, against published figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder_schema.report import holm


def test_holm_gives_the_published_figures() -> None:
    """R's ``p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")``."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1)))
def test_corrected_values_keep_their_order_and_lie_above(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(adjusted)
