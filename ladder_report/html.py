"""The report as one self-contained HTML file: no scripts, no external references, everything escaped.

The values come from a process that ran an uploaded model, so every string is data: Jinja escapes it, and
`wording.printable` takes out what could disturb a page or mislead its reader. Images are encoded here from
raw pixels. The page is valid under ``sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'``.
"""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ladder_report import wording
from ladder_report.document.blocks import Document
from ladder_report.document.build import build_document
from ladder_report.labels import RECOMMENDATIONS, STATUSES
from ladder_schema.report import Report

CONTENT_SECURITY_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_html(report: Report) -> str:
    """Render a report for people.

    Args:
        report: The validated value; where it came from need not be trusted.

    Returns:
        A complete HTML document. Equal reports give equal documents.
    """
    return set_html(build_document(report))


def set_html(document: Document) -> str:
    """Set a document as a page."""
    template = _ENVIRONMENT.get_template("page.html.j2")
    return template.render(document=document, policy=CONTENT_SECURITY_POLICY)


def _svg_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"


def _png_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


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
    environment.filters |= {"percent": wording.percent, "png_uri": _png_uri, "svg_uri": _svg_uri}
    environment.globals |= {"recommendations": RECOMMENDATIONS, "statuses": STATUSES}
    return environment


_ENVIRONMENT = _environment()
