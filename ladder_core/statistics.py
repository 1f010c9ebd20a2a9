"""How sure several comparisons make one, taken together."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979, https://www.jstor.org/stable/4615733), in order.

    Calling those below 5% real is wrong about any of them at most 5% of the time.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = floor
    return adjusted
