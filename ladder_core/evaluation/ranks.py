"""The paper's average rank (section 4): how a model does among others, over clean accuracy and attacks."""

import math
from collections.abc import Mapping

Accuracies = Mapping[str, Mapping[str, float | None]]


def average_ranks(accuracies: Accuracies) -> dict[str, float]:
    """Return each model's rank, averaged over its own columns; 1 is the best.

    In a column only the models that have a cell there are ranked: a model trained on an attack has none for
    that attack. A model's rank is 1 + the number of models that are strictly better, so those that tie share
    the smaller rank.

    Args:
        accuracies: Of each model, its cells by column (clean accuracy, or an attack), in any one unit. A cell
            it does not have is None, or left out.

    Raises:
        ValueError: A model has no cell at all, or an accuracy is not a number.
    """
    rows = {model: _cells(model, row) for model, row in accuracies.items()}
    return {model: _average_rank(own, rows) for model, own in rows.items()}


def _average_rank(own: dict[str, float], rows: dict[str, dict[str, float]]) -> float:
    ranks = [
        1 + sum(cells.get(column, -math.inf) > accuracy for cells in rows.values())
        for column, accuracy in own.items()
    ]
    return sum(ranks) / len(ranks)


def _cells(model: str, row: Mapping[str, float | None]) -> dict[str, float]:
    cells = {column: accuracy for column, accuracy in row.items() if accuracy is not None}
    for column, accuracy in cells.items():
        if math.isnan(accuracy):
            raise ValueError(f"the accuracy of {model!r} on {column!r} is not a number: leave the cell out")
    if not cells:
        raise ValueError(f"{model!r} has no accuracy in any column: leave the model out")
    return cells
