"""The report's charts, drawn by matplotlib as SVG.

Each chart is made twice, for light and for dark pages; the page's style shows the one that fits. As images,
not inline SVG, they cannot clash with the page's identifiers or styles. They carry no text from the upload.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ladder_schema.report import Accuracy, EpochLosses, LatentMap

_WIDTH = 9.6  # inches; the page scales it to its own
_BAR = 0.36
_MAX_MARKERS = 30  # more would run together
_MAX_LOSS = 1e9  # past this the curve is noise, and axis arithmetic overflows
_MAX_LATENT = 1e9
_COLOURS = colormaps["tab10"]
_MAX_COLOURS = 20  # a legend of more classes says nothing


@dataclass(frozen=True)
class Theme:
    """Colours of one page background; both pass 3:1 against it, as graphics should."""

    ink: str
    muted: str
    grid: str
    before: str
    after: str


LIGHT = Theme(ink="#1c2330", muted="#556070", grid="#dfe3ea", before="#8b95a7", after="#1f5fd0")
DARK = Theme(ink="#e8ecf3", muted="#a5afc0", grid="#343d4d", before="#7f8aa0", after="#4a86e8")


@dataclass(frozen=True)
class Chart:
    """One chart for both backgrounds, as data URIs."""

    light: str
    dark: str


@dataclass(frozen=True)
class Pair:
    """What one group of bars shows."""

    label: str
    before: Accuracy
    after: Accuracy


def accuracy_chart(pairs: Sequence[Pair]) -> Chart:
    """Accuracy before and after, a pair of bars a row, with 95% interval whiskers."""

    def draw(axes: Axes, theme: Theme) -> None:
        rows = range(len(pairs))
        for offset, colour, name, accuracies in (
            (-_BAR / 2, theme.before, "before hardening", [pair.before for pair in pairs]),
            (_BAR / 2, theme.after, "after hardening", [pair.after for pair in pairs]),
        ):
            rates = [100 * accuracy.rate for accuracy in accuracies]
            # Rounding can put a bound a hair inside the rate, and a whisker has no negative length.
            below = [max(0.0, rate - 100 * a.interval[0]) for rate, a in zip(rates, accuracies, strict=True)]
            above = [max(0.0, 100 * a.interval[1] - rate) for rate, a in zip(rates, accuracies, strict=True)]
            heights = [row + offset for row in rows]
            axes.barh(
                heights, rates, _BAR * 0.94, color=colour, label=name, xerr=(below, above),
                error_kw={"ecolor": theme.ink, "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1},
            )  # fmt: skip
            for height, rate, extra in zip(heights, rates, above, strict=True):
                axes.annotate(
                    f"{rate:.1f}%", (rate + extra, height), (6, 0), textcoords="offset points",
                    va="center", fontsize=8.5, color=theme.ink,
                )  # fmt: skip
        axes.set_yticks(rows, [pair.label for pair in pairs], color=theme.ink, fontsize=10)
        axes.invert_yaxis()
        axes.set_xlim(0, 109)
        axes.set_xticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
        axes.grid(axis="x", color=theme.grid, linewidth=0.8)
        axes.spines["left"].set_visible(True)

    return _render(draw, height=0.75 + 0.62 * len(pairs))


def losses_chart(losses: Sequence[EpochLosses]) -> Chart | None:
    """Retraining losses by epoch; nothing to draw for fewer than two epochs or for losses without a scale."""
    values = [value for epoch in losses for value in (epoch.clean, epoch.adversarial)]
    if len(losses) < 2 or max(map(abs, values)) > _MAX_LOSS:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        epochs = range(1, len(losses) + 1)
        marker = "o" if len(losses) <= _MAX_MARKERS else ""
        for name, line, colour, values in (
            ("clean images", "--", theme.muted, [epoch.clean for epoch in losses]),
            ("adversarial images", "-", theme.after, [epoch.adversarial for epoch in losses]),
        ):
            axes.plot(
                epochs, values, line, color=colour, label=name, marker=marker, markersize=4, linewidth=1.8
            )
        axes.set_xlabel("epoch", color=theme.muted, fontsize=9)
        axes.set_ylabel("mean loss", color=theme.muted, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)

    return _render(draw, height=2.8)


def latent_chart(latents: LatentMap) -> Chart | None:
    """Latents on their two principal components, a colour a class; nothing to draw without a scale."""
    values = (*latents.first, *latents.second)
    if not values or max(map(abs, values)) > _MAX_LATENT:
        return None
    classes = sorted(set(latents.labels))

    def draw(axes: Axes, theme: Theme) -> None:
        for number, label in enumerate(classes[:_MAX_COLOURS]):
            rows = [row for row, other in enumerate(latents.labels) if other == label]
            axes.scatter(
                [latents.first[row] for row in rows], [latents.second[row] for row in rows],
                s=11, color=_COLOURS(number % _COLOURS.N), alpha=0.8, linewidths=0, label=str(label),
            )  # fmt: skip
        for name, share, axis in zip(("first", "second"), latents.explained_variance, "xy", strict=True):
            text = f"{name} principal component, {100 * share:.0f}% of the variance"
            (axes.set_xlabel if axis == "x" else axes.set_ylabel)(text, color=theme.muted, fontsize=9)
        axes.grid(color=theme.grid, linewidth=0.8)

    return _render(draw, height=4.2)


def _render(draw: Callable[[Axes, Theme], None], height: float) -> Chart:
    return Chart(light=_svg(draw, height, LIGHT), dark=_svg(draw, height, DARK))


def _svg(draw: Callable[[Axes, Theme], None], height: float, theme: Theme) -> str:
    """Draw on a transparent figure without pyplot's global state; equal input gives equal bytes."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for spine in axes.spines.values():
        spine.set_visible(False)
        spine.set_color(theme.muted)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, labelsize=9, length=0)
    draw(axes, theme)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=10, frameon=False, fontsize=9.5,
        labelcolor=theme.ink, handlelength=1.2, columnspacing=1.6,
    )  # fmt: skip
    buffer = StringIO()
    with rc_context({"svg.hashsalt": "ladder"}):
        figure.savefig(
            buffer, format="svg", transparent=True,
            metadata={"Creator": None, "Date": None, "Format": None, "Type": None},
        )  # fmt: skip
    encoded = base64.b64encode(buffer.getvalue().encode()).decode("ascii")
    return f"data:image/svg+xml;base64,{encoded}"
