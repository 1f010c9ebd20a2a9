"""The curve's radii, and its counts on a model whose answers are known."""

import pytest

from ladder_core.evaluation.curves import measure_curve, radii
from ladder_schema.config import ThreatModel
from tests.ladder_core.attacks.oracles import Linear, case
from tests.ladder_core.evaluation.bench import clean_of, ledger, subjects


@pytest.mark.parametrize(
    ("threat_model", "points", "blind"),
    [
        (ThreatModel(epsilon=0.1), 6, 0.5),
        (ThreatModel(norm="l2", epsilon=0.5), 15, 0.5 * 48**0.5),
        (ThreatModel(epsilon=0.7), 5, 0.7),
        (ThreatModel(epsilon=0.1), 2, 0.5),
    ],
)
def test_radii_rise_from_nothing_to_where_nothing_can_be_seen(
    threat_model, points: int, blind: float
) -> None:
    found = radii(threat_model, points, (3, 4, 4))
    assert len(found) == points
    assert found[0] == 0
    assert found[-1] == pytest.approx(blind)
    assert list(found) == sorted(set(found))
    if points >= 4:
        assert threat_model.epsilon == pytest.approx(min(found, key=lambda r: abs(r - threat_model.epsilon)))


def test_the_curve_is_the_closed_form_one() -> None:
    model, images, labels, margins = case(4)
    flipped = labels.clone()
    flipped[:10] = 1 - flipped[:10]
    of = subjects(model, Linear(4), images, flipped, epsilon=0.04, pgd_steps=20, curve_points=6)
    curve = measure_curve(of, ledger(), of.choose(None), clean_of(of))
    length = model.weight.abs().sum()
    expected = [int((margins[10:] > point.epsilon * length).sum()) for point in curve.points]
    assert [point.outcome.both for point in curve.points] == expected
    assert expected[0] == 190
    assert expected[-1] == 0
