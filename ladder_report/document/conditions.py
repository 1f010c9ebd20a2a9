"""Robustness that must not be lost elsewhere: confidence that can be believed, and common corruptions."""

from ladder_report import wording
from ladder_report.charts.reliability import reliability_chart
from ladder_report.document.blocks import Block, Cell, Column, Facts, Figure, Figures, Heading, Section, Table
from ladder_report.document.cells import accuracy_cell, certainty_cell, change_cell, shift_cell
from ladder_report.labels import corruption_label
from ladder_schema.report import SIGNIFICANCE, Calibrations, CorruptionResult, Measurements, holm

_SEVERITIES = range(1, 6)


def conditions_section(measured: Measurements) -> Section | None:
    """Calibration and corruptions; None where neither was measured."""
    blocks: list[Block] = []
    if measured.calibration:
        blocks += _calibration(measured.calibration)
    if measured.corruptions:
        blocks += _corruptions(measured.corruptions)
    if not blocks:
        return None
    return Section(
        "conditions",
        "Confidence and everyday damage",
        "Robustness against attacks should not be paid for with confidence that misleads, or with weakness "
        "against noise, blur and compression.",
        tuple(blocks),
    )


def _calibration(calibrations: Calibrations) -> list[Block]:
    before, after = (wording.percent(c.ece) for c in (calibrations.before, calibrations.after))
    facts = Facts(
        "Expected calibration error",
        (("Before", before), ("After", after), ("Perfect", "0%: right as often as it says")),
    )
    chart = reliability_chart(calibrations)
    if chart is None:
        return [facts]
    figure = Figure(
        chart,
        "Reliability diagrams before and after hardening: accuracy by confidence. The expected calibration "
        f"error is {before} before and {after} after.",
        "Accuracy by confidence on clean test images. Bars below the dashed line: the model is surer than "
        "it is right. Below: how many of the images have that confidence.",
    )
    return [facts, Figures((figure,), is_wide=True)]


def _corruptions(results: tuple[CorruptionResult, ...]) -> list[Block]:
    names = tuple(dict.fromkeys(result.corruption for result in results))
    found = {(result.corruption, result.severity): result.outcome for result in results}
    # Of so many cells some change by chance: only what stands after Holm's correction is coloured.
    adjusted = holm([outcome.p_value for outcome in found.values()])
    measured = {key for key, p_value in zip(found, adjusted, strict=True) if p_value < SIGNIFICANCE}
    heat = Table(
        "Accuracy before and after by severity; green: measurably better after hardening, red: worse",
        (Column("Corruption", is_number=False), *(Column(f"Severity {s}") for s in _SEVERITIES)),
        tuple(
            (
                Cell(corruption_label(name)),
                *(
                    shift_cell(found[key], is_measured=key in measured)
                    if (key := (name, severity)) in found
                    else Cell("")
                    for severity in _SEVERITIES
                ),
            )
            for name in names
        ),
        css="heat",
    )
    table = Table(
        "Accuracy under common corruptions (after Hendrycks and Dietterich 2019)",
        (
            Column("Corruption", is_number=False), Column("Before"), Column("After"), Column("Change"),
            Column("Chance?"),
        ),
        tuple(
            (
                Cell(f"{corruption_label(result.corruption)}, severity {result.severity}"),
                accuracy_cell(result.outcome.before), accuracy_cell(result.outcome.after),
                change_cell(result.outcome), certainty_cell(result.outcome),
            )
            for result in results
        ),
        folded="Intervals and counts of the corruptions",
    )  # fmt: skip
    return [Heading("Common corruptions"), heat, table]
