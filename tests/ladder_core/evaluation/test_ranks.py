"""The paper's rule gives every average rank that the paper prints."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from ladder_core.evaluation.ranks import average_ranks

COLUMNS = ("clean", "FGSM", "JSMA", "PGD", "CW", "Song", "AutoAttack")
# Accuracies in percent, a dash where a model has no cell; the last column is the printed average rank.
TABLES = {
    1: """
        Vanilla           93.85   25.00   34.04   17.16   86.78   99.42   54.62    4.00
        FGSM_Adv.         88.66       -   37.49   20.62   83.07   97.51   66.36    4.83
        JSMA_Adv.         91.04   28.40       -   19.60   86.22   98.69   61.80    3.83
        PGD_Adv.          87.75   34.20   42.18       -   85.96   96.69   73.18    4.17
        CW_Adv.           91.11   23.60   37.64   18.11       -   98.16   63.42    4.33
        Song_et_al._Adv.  93.53   28.00   33.91   17.18   87.29       -   56.27    4.00
        LADDER_cavRandom  91.55   24.80   36.96   14.78   84.93   98.72   50.78    5.86
        LADDER_Random     90.12   21.00   35.69   16.42   83.96   98.33   53.87    6.86
        LADDER            91.71   26.80   37.29   16.82   86.42   98.96   62.00    3.71
    """,
    2: """
        Vanilla           99.13   46.60   93.91   29.93   99.09   99.82   99.56    3.57
        FGSM_Adv.         92.31       -   83.67   80.91   90.58   95.53   92.22    6.50
        JSMA_Adv.         98.56   57.80       -   51.04   98.56   99.87   98.69    4.17
        PGD_Adv.          90.79   76.20   83.31       -   90.67   94.44   90.36    7.00
        CW_Adv.           98.87   59.20   94.67   44.62       -   99.91   99.36    3.17
        Song_et_al._Adv.  97.23   55.60   89.16   49.91   96.87       -   96.69    6.00
        LADDER_cavRandom  99.01   54.80   92.76   48.20   98.56   99.78   98.89    5.00
        LADDER_Random     98.99   64.40   92.93   56.87   98.33   99.89   99.04    3.29
        LADDER            99.12   55.80   93.13   49.20   98.90   99.82   99.36    3.29
    """,
    3: """
        Vanilla           91.40   52.65   83.05   13.90   62.10   92.05   49.30    5.43
        FGSM_Adv.         89.40       -   67.15   18.55   62.95   54.95   53.95    7.67
        JSMA_Adv.         90.45   53.10       -   14.95   65.90   93.50   40.35    5.50
        PGD_Adv.          89.55   51.75   63.65       -   67.05   59.55   55.95    6.00
        CW_Adv.           89.50   50.10   77.10   43.25       -   77.80   68.35    5.67
        Song_et_al._Adv.  91.15   53.20   83.90   20.00   66.15       -   49.95    3.50
        LADDER_cavRandom  91.10   52.80   81.90   24.90   64.95   86.80   42.55    5.43
        LADDER_Random     91.05   55.10   80.15   24.65   64.45   87.00   55.10    4.71
        LADDER-GAN        91.45   52.75   80.90   25.25   64.70   88.00   46.70    4.71
        LADDER            91.95   53.25   82.40   27.60   65.10   87.10   48.95    3.29
    """,
    4: """
        Vanilla           88.99   58.02   80.81   56.87   59.99   28.01   42.31    4.57
        FGSM_Adv.         67.21       -   63.40   63.85   68.56   24.10   63.08    4.83
        JSMA_Adv.         87.87   70.72       -   73.54   78.76   29.61   67.63    2.17
        PGD_Adv.          79.12   70.71   75.70       -   72.15   23.92   69.37    4.17
        CW_Adv.           84.53   76.90   81.30   79.46       -   28.15   77.55    2.17
        Song_et_al._Adv.  48.66    9.99   45.70   11.01    8.87       -   10.75    7.33
        LADDER-GAN        85.04   59.71   75.84   58.83   60.39   31.27   45.68    3.86
        LADDER            85.92   58.26   75.84   60.18   53.92   29.85   47.75    4.00
    """,
    7: """
        Vanilla            1.80   90.72    0.69   96.88   98.28       -
        FGSM_Adv.             -   82.04   76.28   86.88   90.76    5.00
        JSMA_Adv.         11.24       -    2.08   95.54   98.65    4.25
        PGD_Adv.          81.00   80.39       -   86.71   92.40    5.25
        CW_Adv.            6.29   92.17    1.41       -   99.38    4.00
        Song_et_al._Adv.  28.74   85.63   17.13   93.83       -    3.25
        LADDER_cavRandom  15.31   90.31    4.60   93.47   94.19    4.80
        LADDER_Random     25.80   91.54    8.52   95.86   98.51    3.00
        LADDER            19.60   92.07    9.02   96.70   98.23    2.80
    """,
}


def read(number: int) -> tuple[dict[str, dict[str, float | None]], dict[str, float]]:
    columns = COLUMNS[1:-1] if number == 7 else COLUMNS
    accuracies, printed = {}, {}
    for line in TABLES[number].split("\n"):
        if not line.strip():
            continue
        model, *cells, rank = line.split()
        row = [None if cell == "-" else float(cell) for cell in cells]
        if rank == "-":  # Table 7 ranks without the vanilla model
            continue
        accuracies[model] = dict(zip(columns, row, strict=True))
        printed[model] = float(rank)
    return accuracies, printed


@pytest.mark.parametrize("number", TABLES)
def test_the_rule_gives_the_printed_ranks(number: int) -> None:
    accuracies, printed = read(number)

    found = {model: round(rank, 2) for model, rank in average_ranks(accuracies).items()}

    assert found == printed
    assert len(found) == {1: 9, 2: 9, 3: 10, 4: 8, 7: 8}[number]


def test_a_column_left_out_is_a_cell_that_is_none() -> None:
    accuracies, _ = read(2)
    shorter = {
        model: {column: cell for column, cell in row.items() if cell is not None}
        for model, row in accuracies.items()
    }

    assert average_ranks(shorter) == average_ranks(accuracies)


def test_zero_accuracies_tie_too() -> None:
    ranks = average_ranks({"a": {"pgd": 0.0}, "b": {"pgd": 0.0}, "c": {"pgd": 0.5}, "d": {"fgsm": 0.0}})

    assert ranks == {"a": 2.0, "b": 2.0, "c": 1.0, "d": 1.0}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=6))
def test_ranks_are_scipys_minimum_ranks(table: list[list[int]]) -> None:
    accuracies = {str(i): {str(j): float(cell) for j, cell in enumerate(row)} for i, row in enumerate(table)}
    expected = rankdata(-np.array(table), method="min", axis=0).mean(axis=1)

    assert list(average_ranks(accuracies).values()) == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("row", "message"),
    [({"clean": None}, "no accuracy"), ({}, "no accuracy"), ({"clean": float("nan")}, "not a number")],
)
def test_a_model_that_cannot_be_ranked_is_named(row: dict[str, float | None], message: str) -> None:
    with pytest.raises(ValueError, match=f"'LADDER'.*{message}|accuracy of 'LADDER'.*{message}"):
        average_ranks({"Vanilla": {"clean": 0.9}, "LADDER": row})
