"""Results by class: a heat map of rates, and what is taken for what."""

from ladder_report import wording
from ladder_report.charts.matrices import confusion_chart
from ladder_report.charts.style import safe_label
from ladder_report.document.blocks import Block, Cell, Column, Figure, Figures, Section, Table
from ladder_report.document.cells import count_cell, left_out, rate_cell
from ladder_report.labels import class_label
from ladder_schema.report import ClassResult, Confusion, Confusions, Measurements

_MAX_CLASSES = 100
_FOLDED_FROM = 26
_LONGEST_NAME = 80
_MOST_CONFUSED = 5


def classes_section(measured: Measurements, names: tuple[str, ...]) -> Section | None:
    """Rates by class and the confusions; None where neither is there."""
    blocks: list[Block] = []
    if measured.classes:
        blocks.append(_class_table(measured.classes, names))
    if measured.confusions:
        blocks += _confusions(measured.confusions, names)
    if not blocks:
        return None
    return Section(
        "classes",
        "Class by class",
        "Hardening seldom helps all classes alike. The deeper a cell's colour, the more of its predictions "
        "are correct.",
        tuple(blocks),
    )


def name_of(names: tuple[str, ...], index: int) -> str:
    """A class's name, cut where it is longer than a table has room for."""
    return wording.short(class_label(names, index), _LONGEST_NAME)


def _class_table(classes: tuple[ClassResult, ...], names: tuple[str, ...]) -> Table:
    many = len(classes) > _MAX_CLASSES
    ordered = sorted(classes, key=lambda c: c.worst_case.after.rate) if many else classes
    cut = left_out(_MAX_CLASSES, len(classes), "classes, those least robust after hardening,")
    return Table(
        "Correct predictions by class; the worst case is over all white-box attacks",
        (
            Column("Class", is_number=False),
            Column("Clean, before"),
            Column("Clean, after"),
            Column("Worst case, before"),
            Column("Worst case, after"),
            Column("Clean images"),
            Column("Attacked images"),
        ),
        tuple(
            (
                Cell(name_of(names, result.label)),
                rate_cell(result.clean.before),
                rate_cell(result.clean.after),
                rate_cell(result.worst_case.before),
                rate_cell(result.worst_case.after),
                count_cell(result.clean.total),
                count_cell(result.worst_case.total),
            )
            for result in ordered[:_MAX_CLASSES]
        ),
        folded="Results by class" if len(classes) >= _FOLDED_FROM else None,
        cut=cut,
        css="heat",
    )


def _confusions(confusions: Confusions, names: tuple[str, ...]) -> list[Block]:
    pairs = (
        ("on clean images", confusions.clean_before, confusions.clean_after),
        ("on the strongest gradient attack's images", confusions.attacked_before, confusions.attacked_after),
    )

    def label(index: int) -> str:
        return safe_label(wording.printable(class_label(names, index)), str(index))

    blocks: list[Block] = []
    for where, before, after in pairs:
        chart = confusion_chart(before, after, label)
        if chart is None:
            continue
        mistakes = "; ".join((*_mistakes(before, names, "before"), *_mistakes(after, names, "after")))
        figure = Figure(
            chart,
            f"Confusion matrices {where}, before and after hardening. "
            + (f"Most frequent mistakes: {mistakes}." if mistakes else "No mistakes."),
            f"What is taken for what {where}, in percent of each true class (row).",
        )
        blocks.append(Figures((figure,), is_wide=True))
    if rows := _mistake_rows(pairs, names):
        blocks.append(
            Table(
                "The most frequent mistakes",
                (
                    Column("Images", is_number=False), Column("Model", is_number=False),
                    Column("True class", is_number=False), Column("Taken for", is_number=False),
                    Column("Images so"),
                ),
                rows,
                folded="The most frequent mistakes",
            )
        )  # fmt: skip
    return blocks


def _worst(confusion: Confusion) -> list[tuple[int, int, int]]:
    """Count, true class and answer of the most frequent mistakes."""
    mistakes = [
        (count, row, column)
        for row, counts in enumerate(confusion.counts)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(mistakes, key=lambda found: (-found[0], found[1], found[2]))[:_MOST_CONFUSED]


def _mistakes(confusion: Confusion, names: tuple[str, ...], model: str) -> list[str]:
    return [
        f"{name_of(names, row)} for {name_of(names, column)} {wording.count(count)} times {model}"
        for count, row, column in _worst(confusion)[:2]
    ]


def _mistake_rows(
    pairs: tuple[tuple[str, Confusion, Confusion], ...], names: tuple[str, ...]
) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            Cell("clean" if where == "on clean images" else "attacked"),
            Cell(model),
            Cell(name_of(names, row)),
            Cell(name_of(names, column)),
            count_cell(count),
        )
        for where, *confusions in pairs
        for model, confusion in zip(("before", "after"), confusions, strict=True)
        for count, row, column in _worst(confusion)
    )
