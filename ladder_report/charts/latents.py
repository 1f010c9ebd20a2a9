"""Latents of the original model: around a boundary, and on their principal components."""

from collections.abc import Callable

from matplotlib import colormaps
from matplotlib.figure import Figure

from ladder_report.charts.style import (
    HALF,
    WIDE,
    Chart,
    Theme,
    are_drawable,
    legend,
    name_axes,
    plain_axes,
)
from ladder_schema.report import LatentMap, LatentPlane

_COLOURS = colormaps["tab10"]
_MAX_COLOURS = 20  # a legend of more classes says nothing
_MANY_POINTS = 300  # past this, points are drawn as pixels: as outlines they make a large file


def plane_chart(plane: LatentPlane, label: Callable[[int], str]) -> Chart | None:
    """Two classes' latents on both sides of their boundary, and where the moved ones ended."""
    points = (*plane.along, *plane.across, *plane.moved_along, *plane.moved_across)
    if not plane.along or not are_drawable(points):
        return None

    def draw(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        for number, colour, marker in ((plane.label, theme.before, "o"), (plane.target, theme.after, "s")):
            rows = [row for row, other in enumerate(plane.labels) if other == number]
            axes.scatter(
                [plane.along[row] for row in rows], [plane.across[row] for row in rows], s=16, color=colour,
                marker=marker, alpha=0.75, linewidths=0, label=label(number),
                rasterized=len(plane.along) > _MANY_POINTS,
            )  # fmt: skip
        if plane.moved_along:
            axes.scatter(
                plane.moved_along, plane.moved_across, s=24, color=theme.third, marker="x", linewidths=1.3,
                label=f"{label(plane.label)}, moved", rasterized=len(plane.moved_along) > _MANY_POINTS,
            )  # fmt: skip
        axes.axvline(0, color=theme.ink, linewidth=1.2)
        axes.annotate(
            "boundary", (0, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=8.5, color=theme.ink,
        )  # fmt: skip
        axes.grid(color=theme.grid, linewidth=0.8)
        name_axes(axes, theme, "distance from the boundary, along d", "main direction across d")
        legend(figure, axes, theme)

    return Chart(draw, HALF, 4.0, has_pixels=max(len(plane.along), len(plane.moved_along)) > _MANY_POINTS)


def latent_chart(latents: LatentMap, label: Callable[[int], str]) -> Chart | None:
    """Latents on their two principal components, a colour a class; nothing to draw without a scale."""
    if not are_drawable((*latents.first, *latents.second)):
        return None
    classes = sorted(set(latents.labels))

    def draw(figure: Figure, theme: Theme) -> None:
        axes = plain_axes(figure.subplots(), theme)
        for number, index in enumerate(classes[:_MAX_COLOURS]):
            rows = [row for row, other in enumerate(latents.labels) if other == index]
            axes.scatter(
                [latents.first[row] for row in rows], [latents.second[row] for row in rows], s=13,
                color=_COLOURS(number % _COLOURS.N), marker="o" if number < _COLOURS.N else "^", alpha=0.85,
                linewidths=0, label=label(index), rasterized=len(latents.first) > _MANY_POINTS,
            )  # fmt: skip
        axes.grid(color=theme.grid, linewidth=0.8)
        first, second = (f"{100 * share:.0f}% of the variance" for share in latents.explained_variance)
        name_axes(axes, theme, f"first component, {first}", f"second, {second}")
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9,
            labelcolor=theme.ink, handletextpad=0.2,
        )  # fmt: skip

    return Chart(draw, WIDE, 4.6, has_pixels=len(latents.first) > _MANY_POINTS)
