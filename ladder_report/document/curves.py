"""Robustness by radius, by least distance, and against what the hardening was given."""

from ladder_report import wording
from ladder_report.charts.curves import distortion_chart, epsilon_chart, trade_off_chart
from ladder_report.document.blocks import Block, Cell, Column, Figure, Figures, Heading, Section, Table
from ladder_report.document.cells import accuracy_cell, certainty_cell, change_cell
from ladder_report.labels import ATTACKS, NORMS
from ladder_schema.config import ThreatModel
from ladder_schema.report import Distances, EpsilonCurve, Measurements, MinimalDistortion, TradeOff

_VARIED = {
    "examples": "number of examples",
    "rho": "relative step \N{GREEK SMALL LETTER RHO}",
    "epsilon": "radius \N{GREEK SMALL LETTER EPSILON} of training",
}


def curves_section(measured: Measurements, threat_model: ThreatModel) -> Section | None:
    """All curves that were measured; None where there is none."""
    blocks: list[Block] = []
    figures = [_curve_figure(curve, threat_model) for curve in measured.curves]
    drawn = [_distortion_figure(d) for d in measured.distortions]
    figures += [figure for figure in drawn if figure is not None]
    if figures:
        blocks.append(Figures(tuple(figures)))
    blocks += [_curve_table(curve) for curve in measured.curves]
    if measured.distortions:
        blocks.append(_distortion_table(measured.distortions))
    if measured.trade_offs:
        blocks.append(Heading("Clean against robust accuracy"))
        blocks.append(Figures(tuple(map(_trade_off_figure, measured.trade_offs))))
        blocks += map(_trade_off_table, measured.trade_offs)
    if not blocks:
        return None
    return Section(
        "curves",
        "How far robustness reaches",
        "A robust model loses accuracy late as the radius grows, and loses all of it in the end; one that "
        "keeps accuracy at any radius hides its gradients. Bands are 95% intervals.",
        tuple(blocks),
    )


def _curve_figure(curve: EpsilonCurve, threat_model: ThreatModel) -> Figure:
    name = f"{ATTACKS[curve.attack]}, {NORMS[curve.norm]}"
    said = "; ".join(
        f"at {wording.radius(point.epsilon)} {wording.percent(point.outcome.before.rate)} before and "
        f"{wording.percent(point.outcome.after.rate)} after"
        for point in curve.points[:: max(1, len(curve.points) // 6)]
    )
    marked = threat_model.epsilon if curve.norm == threat_model.norm else None
    return Figure(
        epsilon_chart(curve, marked),
        f"Line chart of accuracy against the radius of {name}: {said}.",
        f"Accuracy against the radius, {name}.",
    )


def _curve_table(curve: EpsilonCurve) -> Table:
    return Table(
        f"Accuracy against the radius, {ATTACKS[curve.attack]}, {NORMS[curve.norm]}",
        (
            Column("Radius \N{GREEK SMALL LETTER EPSILON}", is_number=False),
            Column("Before"), Column("After"), Column("Change"), Column("Chance?"),
        ),
        tuple(
            (
                Cell(wording.radius(point.epsilon)), accuracy_cell(point.outcome.before),
                accuracy_cell(point.outcome.after), change_cell(point.outcome), certainty_cell(point.outcome),
            )
            for point in curve.points
        ),
        folded=f"Figures of the curve: {ATTACKS[curve.attack]}, {NORMS[curve.norm]}",
    )  # fmt: skip


def _distortion_figure(distortion: MinimalDistortion) -> Figure | None:
    chart = distortion_chart(distortion)
    if chart is None:
        return None
    name = f"{ATTACKS[distortion.attack]}, {NORMS[distortion.norm]}"
    return Figure(
        chart,
        f"Step chart of the share of images that hold against the least distance found by {name}: "
        f"median {_median(distortion.before)} before and {_median(distortion.after)} after.",
        f"Least distance that breaks an image, {name}: the share that still holds.",
    )


def _distortion_table(distortions: tuple[MinimalDistortion, ...]) -> Table:
    def row(distortion: MinimalDistortion, name: str, distances: Distances) -> tuple[Cell, ...]:
        return (
            Cell(f"{ATTACKS[distortion.attack]}, {NORMS[distortion.norm]}, {name}"),
            Cell(_median(distances)),
            Cell(wording.count(len(distances.broken))),
            Cell(wording.count(distances.held)),
        )

    return Table(
        "Least perturbation that was found, in pixels of [0, 1]",
        (Column("Attack", is_number=False), Column("Median"), Column("Broken"), Column("Held")),
        tuple(
            row(distortion, name, distances)
            for distortion in distortions
            for name, distances in (("before", distortion.before), ("after", distortion.after))
        ),
    )


def _median(distances: Distances) -> str:
    """The distance by which half of the attacked images were broken."""
    total = len(distances.broken) + distances.held
    if not total:
        return "not measured"
    place = (total - 1) // 2
    broken = sorted(distances.broken)
    return wording.number(broken[place]) if place < len(broken) else "more than half held"


def _trade_off_figure(trade_off: TradeOff) -> Figure:
    varied = _VARIED[trade_off.varied]
    said = "; ".join(
        f"{wording.number(point.value)}: clean {wording.percent(point.clean.rate)}, "
        f"under attack {wording.percent(point.robust.rate)}"
        for point in trade_off.points
    )
    where = " The best is top right." if trade_off.varied == "examples" else ""
    return Figure(
        trade_off_chart(trade_off, varied),
        f"Clean and robust accuracy ({ATTACKS[trade_off.attack]}) by {varied}. {said}.",
        f"Clean accuracy and accuracy under {ATTACKS[trade_off.attack]}, by {varied}.{where}",
    )


def _trade_off_table(trade_off: TradeOff) -> Table:
    varied = _VARIED[trade_off.varied]
    return Table(
        f"Trade-off under {ATTACKS[trade_off.attack]} by {varied}",
        (Column(varied.capitalize(), is_number=False), Column("Clean"), Column("Under attack")),
        tuple(
            (Cell(wording.number(point.value)), accuracy_cell(point.clean), accuracy_cell(point.robust))
            for point in trade_off.points
        ),
        folded=f"Figures of the trade-off by {varied}",
    )
