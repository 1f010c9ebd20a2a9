"""All faces of a report, from one document: its charts are drawn once."""

from dataclasses import dataclass
from pathlib import Path

from ladder_report.card import set_card
from ladder_report.document.build import build_document
from ladder_report.html import set_html
from ladder_report.pdf import set_pdf
from ladder_schema.report import Report


@dataclass(frozen=True)
class Faces:
    """A report for the screen, for paper, and as a card beside the model."""

    html: str
    pdf: bytes
    card: str


def render(report: Report, scratch: Path) -> Faces:
    """Render every face of a report.

    Args:
        report: The validated value; where it came from need not be trusted.
        scratch: A folder of ours for the files that the PDF is set from; they are gone afterwards.
    """
    document = build_document(report)
    return Faces(
        html=set_html(document),
        pdf=set_pdf(document, report.created_at, scratch),
        card=set_card(document, report),
    )
