"""Reliability: is a model right as often as it says?"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ladder_report.charts.style import WIDE, Chart, Theme, percent_axis, plain_axes
from ladder_schema.report import Calibration, Calibrations


def reliability_chart(calibrations: Calibrations) -> Chart | None:
    """Accuracy against confidence, bin by bin, both models; below, how many samples a bin has."""
    if not calibrations.before.bins or not calibrations.after.bins:
        return None

    def draw(figure: Figure, theme: Theme) -> None:
        panels = figure.subplots(2, 2, sharex="col", height_ratios=(4, 1))
        for column, (name, calibration, colour) in enumerate(
            (
                ("before hardening", calibrations.before, theme.before),
                ("after hardening", calibrations.after, theme.after),
            )
        ):
            top, bottom = (plain_axes(panels[row][column], theme) for row in range(2))
            _bars(top, bottom, theme, calibration, colour)
            top.set_title(name, color=theme.ink, fontsize=10.5, loc="left")
            top.set_ylabel("accuracy", color=theme.muted, fontsize=9.5)
            bottom.set_ylabel("samples", color=theme.muted, fontsize=9.5)
            bottom.set_xlabel("confidence", color=theme.muted, fontsize=9.5)

    return Chart(draw, WIDE, 4.4)


def _bars(top: Axes, bottom: Axes, theme: Theme, calibration: Calibration, colour: str) -> None:
    width = 100 / len(calibration.bins)
    places = [width * (number + 0.5) for number in range(len(calibration.bins))]
    rates = [100 * min(b.correct, b.total) / max(1, b.total) for b in calibration.bins]
    samples = max(1, sum(b.total for b in calibration.bins))
    top.bar(places, rates, 0.92 * width, color=colour)
    top.plot([0, 100], [0, 100], "--", color=theme.third, linewidth=1.3)
    top.annotate(
        "as sure as right", (38, 38), (-6, 6), textcoords="offset points", ha="right", fontsize=8.5,
        color=theme.ink,
    )  # fmt: skip
    percent_axis(top, theme)
    shares = [100 * b.total / samples for b in calibration.bins]
    most = max(1.0, *shares)
    bottom.bar(places, shares, 0.92 * width, color=colour)
    bottom.set_ylim(0, 1.05 * most)
    bottom.set_yticks((0, most), ("0%", f"{most:.0f}%"))
    percent_axis(bottom, theme, which="x")
    bottom.grid(visible=False)
