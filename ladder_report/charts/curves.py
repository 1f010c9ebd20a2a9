"""Curves: accuracy against the radius, what the least perturbations were, trade-offs, losses."""

from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ladder_report.charts.style import (
    HALF,
    WIDE,
    Chart,
    Theme,
    are_drawable,
    legend,
    name_axes,
    percent_axis,
    plain_axes,
)
from ladder_report.labels import TERMS
from ladder_schema.report import Accuracy, Distances, EpochLosses, EpsilonCurve, MinimalDistortion, TradeOff

_HEIGHT = 3.7
_MAX_MARKERS = 30  # more would run together


def epsilon_chart(curve: EpsilonCurve, marked: float | None) -> Chart:
    """Accuracy against the radius with 95% bands; ``marked`` is the threat model's, where comparable."""
    points = sorted(curve.points, key=lambda point: point.epsilon)
    radii = [point.epsilon for point in points]

    def draw(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        for name, line, colour, accuracies in (
            ("before hardening", "--", theme.before, [point.outcome.before for point in points]),
            ("after hardening", "-", theme.after, [point.outcome.after for point in points]),
        ):
            _band(axes, radii, accuracies, colour, line, name)
        if marked is not None and radii[0] <= marked <= radii[-1]:
            axes.axvline(marked, color=theme.third, linewidth=1.2, linestyle=":", label="this job's radius")
        percent_axis(axes, theme)
        name_axes(axes, theme, f"radius \N{GREEK SMALL LETTER EPSILON}, {_norm(curve.norm)}", "accuracy")
        legend(figure, axes, theme)

    return Chart(draw, HALF, _HEIGHT)


def distortion_chart(distortion: MinimalDistortion) -> Chart | None:
    """Share of attacked images that still hold, against the distance; nothing where none was broken."""
    if not distortion.before.broken and not distortion.after.broken:
        return None
    farthest = max((*distortion.before.broken, *distortion.after.broken))

    def draw(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        for name, line, colour, distances in (
            ("before hardening", "--", theme.before, distortion.before),
            ("after hardening", "-", theme.after, distortion.after),
        ):
            if steps := _holding(distances, farthest):
                axes.step(*steps, line, where="post", color=colour, label=name, linewidth=1.9)
        percent_axis(axes, theme)
        axes.set_xlim(left=0)
        name_axes(axes, theme, f"distance, {_norm(distortion.norm)}", "images that hold")
        legend(figure, axes, theme)

    return Chart(draw, HALF, _HEIGHT)


def trade_off_chart(trade_off: TradeOff, varied: str) -> Chart:
    """Clean against robust accuracy (Fig. 8), or both against what was varied (Fig. 9)."""
    points = sorted(trade_off.points, key=lambda point: point.value)

    def scatter(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        robust = [100 * point.robust.rate for point in points]
        clean = [100 * point.clean.rate for point in points]
        axes.plot(robust, clean, "-", color=theme.grid, linewidth=1.4)
        axes.plot(robust, clean, "o", color=theme.after, markersize=7)
        for point, x, y in zip(points, robust, clean, strict=True):
            axes.annotate(
                f"{point.value:,.4g}", (x, y), (7, 5), textcoords="offset points", fontsize=8.5,
                color=theme.ink,
            )  # fmt: skip
        axes.grid(color=theme.grid, linewidth=0.8)
        axes.margins(0.15)
        axes.xaxis.set_major_formatter("{x:g}%")
        axes.yaxis.set_major_formatter("{x:g}%")
        name_axes(axes, theme, "accuracy under attack", "clean accuracy")

    def lines(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        values = [point.value for point in points]
        _band(axes, values, [point.clean for point in points], theme.after, "-", "clean images")
        _band(axes, values, [point.robust for point in points], theme.third, "--", "under attack")
        percent_axis(axes, theme)
        name_axes(axes, theme, varied, "accuracy")
        legend(figure, axes, theme)

    return Chart(scatter if trade_off.varied == "examples" else lines, HALF, _HEIGHT)


def losses_chart(losses: Sequence[EpochLosses]) -> Chart | None:
    """Retraining losses by epoch; nothing to draw for fewer than two epochs or for losses without a scale."""
    if len(losses) < 2 or not are_drawable([value for epoch in losses for value in epoch.terms.values()]):
        return None
    drawn = [name for name in TERMS if all(name in epoch.terms for epoch in losses)]

    def draw(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        epochs = range(1, len(losses) + 1)
        marker = "o" if len(losses) <= _MAX_MARKERS else ""
        styles = cycle((("--", theme.before), ("-", theme.after), (":", theme.after), ("-.", theme.ink)))
        for name, (line, colour) in zip(drawn, styles, strict=False):
            axes.plot(
                epochs,
                [epoch.terms[name] for epoch in losses],
                line,
                color=colour,
                label=TERMS[name],
                marker=marker,
                markersize=4,
                linewidth=1.8,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
        name_axes(axes, theme, "epoch", "mean loss")
        legend(figure, axes, theme)

    return Chart(draw, WIDE, 2.9)


def _band(
    axes: Axes, values: Sequence[float], accuracies: Sequence[Accuracy], colour: str, line: str, name: str
) -> None:
    rates = [100 * accuracy.rate for accuracy in accuracies]
    low, high = zip(*(accuracy.interval for accuracy in accuracies), strict=True)
    axes.fill_between(
        values, [100 * v for v in low], [100 * v for v in high], color=colour, alpha=0.15, linewidth=0
    )
    marker = "o" if len(rates) <= _MAX_MARKERS else ""
    axes.plot(values, rates, line, color=colour, label=name, marker=marker, markersize=4.5, linewidth=1.9)


def _holding(distances: Distances, farthest: float) -> tuple[list[float], list[float]] | None:
    """Distances, and the share in percent that holds from each on, to the farthest of both models."""
    total = len(distances.broken) + distances.held
    if not total:
        return None
    broken = sorted(distances.broken)
    x = [0.0, *broken, farthest]
    y = [100.0, *(100 * (1 - (place + 1) / total) for place in range(len(broken)))]
    return x, [*y, y[-1]]


def _norm(norm: str) -> str:
    return {"linf": "L\N{INFINITY}", "l2": "L2"}[norm]
