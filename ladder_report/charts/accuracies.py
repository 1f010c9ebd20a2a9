"""Accuracy before and after, as bars with their intervals."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ladder_report.charts.style import WIDE, Chart, Theme, legend, percent_axis, plain_axes
from ladder_schema.report import Paired

_BAR = 0.36


def accuracy_chart(rows: Sequence[tuple[str, Paired]]) -> Chart:
    """Accuracy before and after, a pair of bars a row, with 95% interval whiskers."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        places = range(len(rows))
        for offset, colour, name, accuracies in (
            (-_BAR / 2, theme.before, "before hardening", [paired.before for _, paired in rows]),
            (_BAR / 2, theme.after, "after hardening", [paired.after for _, paired in rows]),
        ):
            rates = [100 * accuracy.rate for accuracy in accuracies]
            # Rounding can put a bound a hair inside the rate, and a whisker has no negative length.
            below = [max(0.0, rate - 100 * a.interval[0]) for rate, a in zip(rates, accuracies, strict=True)]
            above = [max(0.0, 100 * a.interval[1] - rate) for rate, a in zip(rates, accuracies, strict=True)]
            heights = [place + offset for place in places]
            axes.barh(
                heights, rates, _BAR * 0.94, color=colour, label=name, xerr=(below, above),
                error_kw={"ecolor": theme.ink, "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1},
            )  # fmt: skip
            for height, rate, extra in zip(heights, rates, above, strict=True):
                axes.annotate(
                    f"{rate:.1f}%", (rate + extra, height), (6, 0), textcoords="offset points",
                    va="center", fontsize=8.5, color=theme.ink,
                )  # fmt: skip
        axes.set_yticks(places, [label for label, _ in rows], color=theme.ink, fontsize=10)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        percent_axis(axes, theme, which="x")
        axes.set_xlim(0, 109)
        axes.spines["left"].set_visible(True)
        legend(figure, axes, theme)

    return Chart(draw, WIDE, 0.85 + 0.6 * len(rows))
