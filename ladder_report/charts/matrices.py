"""Confusion matrices: how often each class is taken for each."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ladder_report.charts.style import WIDE, Chart, Theme, plain_axes
from ladder_schema.report import Confusion

_MAX_NUMBERED = 12  # classes whose cells have room for a figure
_MAX_NAMED = 30


def confusion_chart(before: Confusion, after: Confusion, label: Callable[[int], str]) -> Chart | None:
    """Both models side by side, each row in shares of its class; nothing to draw of no class."""
    if not before.counts or not after.counts:
        return None

    def draw(figure: Figure, theme: Theme) -> None:
        # Square panels are shorter than the room they are given; only this layout then keeps their titles in.
        figure.set_layout_engine("compressed")
        panels = figure.subplots(1, 2)
        for axes, name, confusion in zip(
            panels, ("before hardening", "after hardening"), (before, after), strict=True
        ):
            _panel(plain_axes(axes, theme), theme, confusion, label)
            axes.set_title(name, color=theme.ink, fontsize=10.5, loc="left")

    return Chart(draw, WIDE, 4.9, has_pixels=True)


def _panel(axes: Axes, theme: Theme, confusion: Confusion, label: Callable[[int], str]) -> None:
    shares = [[100 * count / max(1, sum(row)) for count in row] for row in confusion.counts]
    size = len(shares)
    axes.imshow(shares, cmap=theme.heat, vmin=0, vmax=100, interpolation="nearest")
    if size <= _MAX_NUMBERED:
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                if share >= 0.5:
                    dark_cell = (share > 50) == (theme.low > theme.high)
                    axes.text(
                        x, y, f"{share:.0f}", ha="center", va="center", fontsize=8,
                        color="#ffffff" if dark_cell else "#10141b",
                    )  # fmt: skip
    if size <= _MAX_NAMED:
        names = [label(index) for index in range(size)]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=8)
        axes.set_yticks(range(size), names, fontsize=8)
    axes.set_xlabel("taken for", color=theme.muted, fontsize=9.5)
    axes.set_ylabel("true class", color=theme.muted, fontsize=9.5)
