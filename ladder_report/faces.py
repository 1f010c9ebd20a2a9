"""All faces of a report, from one document: its charts are drawn once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from ladder_report.card import set_card
from ladder_report.document.blocks import Document
from ladder_report.document.build import build_document
from ladder_report.html import set_html
from ladder_report.pdf import set_pdf
from ladder_schema.report import Report

_Part = TypeVar("_Part")


class Face(StrEnum):
    """What a report can be read as."""

    HTML = "html"
    PDF = "pdf"
    CARD = "card"


@dataclass(frozen=True)
class Faces:
    """A report for the screen, for paper, and as a card beside the model."""

    html: str
    pdf: bytes
    card: str


@dataclass(frozen=True)
class Rendering:
    """What could be rendered of a report.

    Attributes:
        faces: Contents by face.
        faults: Why there are no others: faults of this code, as the report is of a validated form.
    """

    faces: Mapping[Face, bytes]
    faults: Mapping[Face, BaseException]


def render(report: Report, scratch: Path) -> Faces:
    """Render every face of a report.

    Args:
        report: The validated value; where it came from need not be trusted.
        scratch: A folder of ours for the files that the PDF is set from; they are gone afterwards.
    """
    document = build_document(report)
    html, pdf, card = (set_face(document, report, scratch) for set_face in _SETTERS.values())
    return Faces(html.decode(), pdf, card.decode())


def render_separately(report: Report, scratch: Path) -> Rendering:
    """Render every face of a report; one that fails takes none of the others with it.

    Args:
        report: As for :func:`render`.
        scratch: As for :func:`render`.

    Raises:
        OSError: The scratch folder fails.
        MemoryError: There is too little memory.
    """
    document = _attempt(partial(build_document, report))
    if isinstance(document, BaseException):
        return Rendering({}, dict.fromkeys(Face, document))
    faces: dict[Face, bytes] = {}
    faults: dict[Face, BaseException] = {}
    for face, set_face in _SETTERS.items():
        content = _attempt(partial(set_face, document, report, scratch))
        if isinstance(content, BaseException):
            faults[face] = content
        else:
            faces[face] = content
    return Rendering(faces, faults)


def _attempt(render_part: Callable[[], _Part]) -> _Part | BaseException:
    """Return what is rendered, or the fault of this code that is in the way."""
    try:
        return render_part()
    except (OSError, MemoryError):
        raise  # the machine's trouble: another may fare better
    except Exception as fault:
        return fault
    except BaseException as fault:
        if _is_panic(fault):
            return fault
        raise


def _is_panic(fault: BaseException) -> bool:
    """Whether Typst's compiler, which is Rust, met a fault of its own: PyO3's class cannot be imported."""
    return (type(fault).__module__, type(fault).__name__) == ("pyo3_runtime", "PanicException")


def _html(document: Document, _report: Report, _scratch: Path) -> bytes:
    return set_html(document).encode()


def _pdf(document: Document, report: Report, scratch: Path) -> bytes:
    return set_pdf(document, report.created_at, scratch)


def _card(document: Document, report: Report, _scratch: Path) -> bytes:
    return set_card(document, report).encode()


_SETTERS = MappingProxyType({Face.HTML: _html, Face.PDF: _pdf, Face.CARD: _card})
