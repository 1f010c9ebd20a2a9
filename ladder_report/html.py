"""The report as one self-contained HTML file: no scripts, no external references, everything escaped.

The values come from a process that ran an uploaded model, so every string is data: Jinja escapes it, and
`wording.printable` takes out what could disturb a page or mislead its reader. Images are encoded here from
raw pixels. The page is valid under ``sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'``.
"""

from dataclasses import dataclass
from datetime import UTC
from itertools import zip_longest

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ladder_report import charts, images, wording
from ladder_schema.report import Accuracy, DatasetCard, GalleryItem, Report

CONTENT_SECURITY_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class _Row:
    """One line of the results: the clean accuracy, or an attack's; the tiles on top repeat the main ones."""

    label: str
    before: Accuracy
    after: Accuracy
    parameters: tuple[str, ...] = ()
    is_clean: bool = False
    is_tile: bool = False


@dataclass(frozen=True)
class _Card:
    """A gallery item with its images encoded."""

    item: GalleryItem
    original: str
    adversarial: str
    difference: str


def render_html(report: Report) -> str:
    """Render a report for people.

    Args:
        report: The validated value; where it came from need not be trusted.

    Returns:
        A complete HTML document. Equal reports give equal documents.
    """
    rows = _rows(report)
    factor = images.amplification(report.gallery)
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        policy=CONTENT_SECURITY_POLICY,
        created=report.created_at.astimezone(UTC),
        method=wording.METHODS[report.config.method],
        rows=rows,
        accuracy_chart=charts.accuracy_chart([charts.Pair(r.label, r.before, r.after) for r in rows]),
        losses_chart=charts.losses_chart(report.losses),
        latent_chart=charts.latent_chart(report.latent_map) if report.latent_map else None,
        cards=[_card(item, factor) for item in report.gallery],
        factor=factor,
        classes=_classes(report.dataset),
        config_rows=wording.flatten(report.config.model_dump()),
        total_seconds=sum(report.stage_seconds.values()),
    )


def _rows(report: Report) -> list[_Row]:
    clean = _Row("Clean images", report.clean_before, report.clean_after, is_clean=True, is_tile=True)
    return [clean] + [
        _Row(
            wording.attack_label(result),
            result.before,
            result.after,
            tuple(f"{name} {wording.parameter(name, value)}" for name, value in result.parameters.items()),
            is_tile=result.setting == "white_box" or result.attack == "ladder",
        )
        for result in report.attacks
    ]


def _classes(dataset: DatasetCard) -> list[tuple[str, int, int]]:
    """Name and sample counts of each class, whichever of the three lists is longest."""
    columns = (dataset.class_names, dataset.train_per_class, dataset.test_per_class)
    return [
        (wording.class_label(dataset.class_names, index), train or 0, test or 0)
        for index, (_, train, test) in enumerate(zip_longest(*columns))
    ]


def _card(item: GalleryItem, factor: int) -> _Card:
    return _Card(
        item=item,
        original=images.data_uri(images.to_image(item.original)),
        adversarial=images.data_uri(images.to_image(item.adversarial)),
        difference=images.data_uri(images.difference(item, factor)),
    )


def _finalize(value: object) -> object:
    """Clean every printed string once, on its way into the page; markup was cleaned when it was made."""
    return wording.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ladder_report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": wording.count,
        "duration": wording.duration,
        "interval": wording.interval,
        "number": wording.number,
        "percent": wording.percent,
    }
    environment.globals |= {
        "class_label": wording.class_label,
        "direction": wording.direction,
        "points": wording.points,
        "recommendations": wording.RECOMMENDATIONS,
    }
    return environment


_ENVIRONMENT = _environment()
