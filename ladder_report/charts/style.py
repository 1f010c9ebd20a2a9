"""Colours, letters and axes shared by all charts, and how a figure becomes SVG."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from io import StringIO
from pathlib import Path

import matplotlib as mpl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

WIDE = 9.6  # inches; a page scales it to its own width
HALF = 5.2
MAX_VALUE = 1e9
"""Past this a value is noise, and axis arithmetic overflows."""
_LONGEST_LABEL = 18
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")


@dataclass(frozen=True)
class Theme:
    """Colours of one page background; lines and bars pass 3:1 against it, as graphics should, text 4.5:1."""

    ink: str
    muted: str
    grid: str
    before: str
    after: str
    third: str
    low: str
    high: str

    @property
    def heat(self) -> LinearSegmentedColormap:
        """Few to many."""
        return LinearSegmentedColormap.from_list("heat", [self.low, self.high])


LIGHT = Theme(
    ink="#1c2330", muted="#556070", grid="#dfe3ea", before="#7d8799", after="#1f5fd0", third="#c2410c",
    low="#f1f4fa", high="#123f96",
)  # fmt: skip
DARK = Theme(
    ink="#e8ecf3", muted="#a5afc0", grid="#343d4d", before="#8f9ab0", after="#5b95f0", third="#fb923c",
    low="#1f2735", high="#8fbaff",
)  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """One chart for both backgrounds, drawn when it is asked for; equal input gives equal bytes.

    Attributes:
        draw: Draws it on a figure, in a theme's colours.
        width: In inches.
        height: In inches.
        has_pixels: Whether parts of it are pixels, whose colours cannot be changed afterwards.
    """

    draw: Callable[[Figure, Theme], None]
    width: float
    height: float
    has_pixels: bool = False

    @cached_property
    def light(self) -> str:
        """For light pages, as SVG."""
        return _svg(self.draw, self.width, self.height, LIGHT)

    @cached_property
    def dark(self) -> str:
        """For dark pages, as SVG."""
        if self.has_pixels:
            return _svg(self.draw, self.width, self.height, DARK)
        colours = dict(zip(vars(LIGHT).values(), vars(DARK).values(), strict=True))
        return _COLOUR.sub(lambda found: colours.get(found[0], found[0]), self.light)


def plain_axes(axes: Axes, theme: Theme) -> Axes:
    """Take the frame off, and leave letters that can be read."""
    for spine in axes.spines.values():
        spine.set_visible(False)
        spine.set_color(theme.muted)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, labelsize=9, length=0)
    return axes


def name_axes(axes: Axes, theme: Theme, x: str, y: str) -> None:
    """Say what the axes show."""
    axes.set_xlabel(x, color=theme.muted, fontsize=9.5)
    axes.set_ylabel(y, color=theme.muted, fontsize=9.5)


def percent_axis(axes: Axes, theme: Theme, *, which: str = "y") -> None:
    """Make an axis run from 0 to 100%."""
    ticks = range(0, 101, 20)
    labels = [f"{tick}%" for tick in ticks]
    if which == "y":
        axes.set_ylim(0, 102)
        axes.set_yticks(ticks, labels)
    else:
        axes.set_xlim(0, 102)
        axes.set_xticks(ticks, labels)
    axes.grid(axis="y" if which == "y" else "x", color=theme.grid, linewidth=0.8)


def legend(figure: Figure, axes: Axes, theme: Theme) -> None:
    """Put the legend above the axes, on the left."""
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, fontsize=9.5,
        labelcolor=theme.ink, handlelength=1.5, columnspacing=1.6,
    )  # fmt: skip


def safe_label(text: str, otherwise: str) -> str:
    """A class name as a chart can show it, or ``otherwise`` where the charts' font lacks a letter of it."""
    text = " ".join(text.split())
    if not text or not is_drawable(text):
        return otherwise
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"


def is_drawable(text: str) -> bool:
    """Whether the charts' font has every letter."""
    return all(ord(letter) in _letters() for letter in text)


def font_folder() -> Path:
    """Where matplotlib keeps the charts' font."""
    return Path(mpl.get_data_path()) / "fonts" / "ttf"


def are_drawable(values: Sequence[float]) -> bool:
    """Whether there is something to draw, and a scale to draw it on."""
    return bool(values) and max(map(abs, values)) <= MAX_VALUE


@cache
def _letters() -> frozenset[int]:
    return frozenset(FT2Font(font_folder() / "DejaVuSans.ttf").get_charmap())


def _svg(draw: Callable[[Figure, Theme], None], width: float, height: float, theme: Theme) -> str:
    """Draw on a transparent figure without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    buffer = StringIO()
    with (
        # Text of the upload is no mathematics.
        rc_context({"svg.hashsalt": "ladder", "text.parse_math": False, "font.family": "DejaVu Sans"}),
        warnings.catch_warnings(),
    ):
        # A chart without room for its labels is drawn all the same.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        draw(figure, theme)
        figure.savefig(
            buffer, format="svg", transparent=True, dpi=150,
            metadata={"Creator": None, "Date": None, "Format": None, "Type": None},
        )  # fmt: skip
    return buffer.getvalue()
