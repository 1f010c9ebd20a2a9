"""Accuracy before and after, AutoAttack by component, and how each attack was set."""

from collections import Counter

from ladder_report import wording
from ladder_report.charts.accuracies import accuracy_chart
from ladder_report.document.blocks import (
    Bullets,
    Cell,
    Column,
    Facts,
    Figure,
    Figures,
    Plain,
    Section,
    Table,
)
from ladder_report.document.cells import accuracy_cell, certainty_cell, change_cell, count_cell, left_out
from ladder_report.labels import NORMS, SETTINGS, attack_label, autoattack_label
from ladder_schema.report import (
    AttackResult,
    AutoAttackSummary,
    AverageRank,
    Measurements,
    Paired,
    Parameters,
)

_MAX_BARS = 25
_MAX_PARAMETERS = 20
_LONGEST_PARAMETER = 80
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
    blocks: list[Plain] = [_bars([(label, paired) for label, paired, _ in rows])]
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
                        Cell(part.name),
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


def settings_section(measured: Measurements) -> Section | None:
    """What every attack was told, what it cost, and how far it had to go."""
    if not measured.attacks:
        return None
    table = Table(
        "Settings of each attack; queries are forward passes an image, both models together; distances are "
        "medians over broken images",
        (
            Column("Attack", is_number=False),
            Column("Settings", is_number=False),
            Column("Broken of attacked, before"),
            Column("Broken of attacked, after"),
            Column("Queries"),
        ),
        tuple(
            (
                Cell(attack_label(result), ("trained on",) if result.trained_on else ()),
                Cell(_parameters(result.parameters)),
                _broken(result.broken_before, result.attacked_before, result.median_l2_before),
                _broken(result.broken_after, result.attacked_after, result.median_l2_after),
                Cell("" if result.mean_queries is None else f"{result.mean_queries:,.0f}"),
            )
            for result in measured.attacks
        ),
    )
    used = dict.fromkeys(result.setting for result in measured.attacks)
    facts = Facts("Settings of knowledge", tuple((SETTINGS[s].capitalize(), _MEANINGS[s]) for s in used))
    return Section(
        "attacks", "How each attack was set", "Enough to repeat every measurement.", (table, facts)
    )


_MEANINGS = {
    "white_box": "The attack knows the model it is tested on, weights included: the hardest setting.",
    "transfer": "Images made against the uploaded model and shown to both: an adversary who knows the model "
    "from before hardening. They do not adapt to the hardened model.",
    "surrogate": "Images made against an independently trained model of the same architecture and shown to "
    "both: an adversary who knows the architecture and the data.",
    "fixed": "Images made once, by a procedure that works on the original's latent space, and shown to both.",
}


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
    if result is not None:
        notes = (_parameters(result.parameters, most=4),) if result.parameters else ()
        notes += ("the hardening trained on these",) if result.trained_on else ()
    return (Cell(label, notes), *_paired_cells(paired))


def _paired_cells(paired: Paired) -> tuple[Cell, ...]:
    return (
        accuracy_cell(paired.before),
        accuracy_cell(paired.after),
        change_cell(paired),
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
                Cell(SETTINGS[rank.setting]),
                Cell(f"{rank.before:.2f}"),
                Cell(f"{rank.after:.2f}"),
                count_cell(rank.columns),
            )
            for rank in ranks
        ),
        css="narrow",
    )


def _broken(broken: int, attacked: int, distance: float | None) -> Cell:
    notes = () if distance is None else (f"L2 {wording.number(distance)}",)
    return Cell(f"{wording.count(broken)} of {wording.count(attacked)}", notes)


def _parameters(parameters: Parameters, most: int = _MAX_PARAMETERS) -> str:
    words = [
        f"{wording.short(name.replace('_', ' '), _LONGEST_PARAMETER)} "
        f"{wording.short(wording.parameter(name, value), _LONGEST_PARAMETER)}"
        for name, value in list(parameters.items())[:most]
    ]
    return " · ".join(words)
