"""Accuracy before and after, and AutoAttack by component."""

from collections import Counter

from ladder_report import wording
from ladder_report.charts.accuracies import accuracy_chart
from ladder_report.document.blocks import (
    Bullets,
    Cell,
    Column,
    Figure,
    Figures,
    Plain,
    Section,
    Table,
)
from ladder_report.document.cells import accuracy_cell, certainty_cell, change_cell, count_cell, left_out
from ladder_report.document.settings import written_parameters
from ladder_report.labels import (
    NORMS,
    SETTINGS,
    attack_label,
    autoattack_label,
    component_label,
    has_no_radius,
)
from ladder_schema.report import (
    AttackResult,
    AutoAttackSummary,
    AverageRank,
    Measurements,
    Paired,
)

_MAX_BARS = 25
_UNCOUNTED = ("not counted: the original is attacked white-box here",)
_ACCURACY_COLUMNS = (
    Column("Test", is_number=False),
    Column("Before"),
    Column("After"),
    Column("Change"),
    Column("Chance?"),
)


def accuracy_section(measured: Measurements) -> Section:
    """Clean accuracy, the worst case and every attack: bars with intervals, then the numbers."""
    rows = _rows(measured)
    bars = [(label, paired) for label, paired, result in rows if result is None or not has_no_radius(result)]
    blocks: list[Plain] = [_bars(bars)]
    blocks.append(
        Table(
            "Correct predictions before and after hardening: rate, count and Wilson 95% interval; change in "
            "percentage points with its 95% interval; McNemar's exact test",
            _ACCURACY_COLUMNS,
            tuple(_row(label, paired, result) for label, paired, result in rows),
            css="results",
        )
    )
    if measured.average_ranks:
        blocks.append(_ranks(measured.average_ranks))
    return Section(
        "accuracy",
        "Accuracy before and after",
        "Share of test images that the uploaded model and the hardened one are right about. Under an attack, "
        "an image counts as right when the model is right about it before and after the attack. Both models "
        "saw the same images.",
        tuple(blocks),
    )


def autoattack_section(summary: AutoAttackSummary) -> Section:
    """AutoAttack's outcome, and what each attack of its ensemble added."""
    result = (Cell("AutoAttack"), *_paired_cells(summary.outcome))
    blocks: list[Plain] = [Table("Accuracy under AutoAttack", _ACCURACY_COLUMNS, (result,), css="results")]
    if summary.components:
        blocks.append(
            Table(
                "Images each attack of the ensemble broke of those its predecessors left",
                (
                    Column("Attack", is_number=False),
                    Column("Broken, before"),
                    Column("Broken, after"),
                    Column("Settings", is_number=False),
                ),
                tuple(
                    (
                        Cell(component_label(part.name)),
                        count_cell(part.broken_before),
                        count_cell(part.broken_after),
                        Cell(wording.short(part.settings)),
                    )
                    for part in summary.components
                ),
            )
        )
    if summary.notes:
        blocks.append(Bullets("", summary.notes))
    return Section(
        "autoattack",
        "AutoAttack",
        f"The {summary.version} ensemble of parameter-free attacks (Croce and Hein 2020), "
        f"{NORMS[summary.norm]} radius {wording.radius(summary.epsilon)}, as RobustBench reports it: an "
        "image counts as robust when every attack of the ensemble fails on it.",
        tuple(blocks),
    )


def _rows(measured: Measurements) -> list[tuple[str, Paired, AttackResult | None]]:
    rows: list[tuple[str, Paired, AttackResult | None]] = [("Clean images", measured.clean, None)]
    if any(result.setting == "white_box" for result in measured.attacks):
        rows.append(("Worst case, white-box", measured.worst_case, None))
    if measured.autoattack:
        rows.append((autoattack_label(measured.autoattack), measured.autoattack.outcome, None))
    seen: Counter[str] = Counter()
    for result in measured.attacks:
        label = attack_label(result)
        seen[label] += 1
        rows.append((label if seen[label] == 1 else f"{label} ({seen[label]})", result.outcome, result))
    return rows


def _row(label: str, paired: Paired, result: AttackResult | None) -> tuple[Cell, ...]:
    notes: tuple[str, ...] = ()
    if result is None and label.startswith("Worst"):
        notes = ("right under every white-box attack, image by image",)
    if result is None:
        return (Cell(label, notes), *_paired_cells(paired))
    notes = (written_parameters(result.parameters, most=4),) if result.parameters else ()
    notes += ("the hardening trained on these",) if result.trained_on else ()
    if result.setting == "transfer":
        notes += _UNCOUNTED
    if has_no_radius(result):
        notes += ("no radius: what counts is how far it had to go",)
    is_counted = result.setting != "transfer" and not has_no_radius(result)
    before, after = _distance(result.median_l2_before), _distance(result.median_l2_after)
    return (Cell(label, notes), *_paired_cells(paired, before, after, is_counted=is_counted))


def _distance(median: float | None) -> tuple[str, ...]:
    return () if median is None else (f"median L2 {wording.number(median)}",)


def _paired_cells(
    paired: Paired, before: tuple[str, ...] = (), after: tuple[str, ...] = (), *, is_counted: bool = True
) -> tuple[Cell, ...]:
    return (
        accuracy_cell(paired.before, *before),
        accuracy_cell(paired.after, *after),
        change_cell(paired, is_counted=is_counted),
        certainty_cell(paired),
    )


def _bars(rows: list[tuple[str, Paired]]) -> Figures:
    shown = rows[:_MAX_BARS]
    said = "; ".join(
        f"{label}: {wording.percent(paired.before.rate)} before, {wording.percent(paired.after.rate)} after"
        for label, paired in shown
    )
    caption = "Bars end at the measured rate; whiskers are Wilson 95% intervals."
    if cut := left_out(len(shown), len(rows), "results"):
        caption += f" {cut}"
    figure = Figure(
        accuracy_chart(shown), f"Bar chart of accuracy before and after hardening. {said}.", caption
    )
    return Figures((figure,), is_wide=True)


def _ranks(ranks: tuple[AverageRank, ...]) -> Table:
    return Table(
        "Average rank of the two models over clean accuracy and black-box attacks, 1 is best (the paper's "
        "measure, section 4)",
        (Column("Examples from", is_number=False), Column("Before"), Column("After"), Column("Columns")),
        tuple(
            (
                Cell(SETTINGS[rank.setting], _UNCOUNTED if rank.setting == "transfer" else ()),
                Cell(f"{rank.before:.2f}"),
                Cell(f"{rank.after:.2f}"),
                count_cell(rank.columns),
            )
            for rank in ranks
        ),
        css="narrow",
    )
