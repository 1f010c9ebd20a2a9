"""The report as PDF: the same document as the page, set by Typst for paper.

Typst's compiler comes as a wheel and needs neither system libraries nor a network. What it reads lies in a
private folder: its templates, the charts and images, and every text as JSON. Nothing of the report is ever
part of the templates, so that no text can be read as Typst's markup.
"""

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typst

from ladder_report import wording
from ladder_report.charts.style import Chart, font_folder, is_drawable
from ladder_report.document.blocks import Document
from ladder_report.document.build import build_document
from ladder_report.labels import RECOMMENDATIONS, STATUSES
from ladder_schema.report import Report

_TEMPLATES = ("report.typ", "blocks.typ", "pictures.typ", "style.typ")
_DATA = "document.json"
_LONGEST_WORD = 130


def render_pdf(report: Report) -> bytes:
    """Render a report for paper.

    Args:
        report: The validated value; where it came from need not be trusted.

    Returns:
        A tagged PDF. Equal reports give equal documents.
    """
    return set_pdf(build_document(report), report.created_at)


def set_pdf(document: Document, created: datetime, scratch: Path | None = None) -> bytes:
    """Set a document as PDF; ``created`` is the date it carries, ``scratch`` where its files may lie."""
    with TemporaryDirectory(prefix="report-", dir=scratch) as folder:
        root = Path(folder)
        for name in _TEMPLATES:
            (root / name).write_text(
                (files("ladder_report") / "templates" / name).read_text("utf-8"), "utf-8"
            )
        data = _Writer(root).value(document)
        words = {"recommendations": dict(RECOMMENDATIONS), "statuses": dict(STATUSES)}
        (root / _DATA).write_text(json.dumps(data | {"words": words}), "utf-8")
        compiled = typst.compile(
            root / "report.typ", root=root, format="pdf", font_paths=_fonts(), timestamp=_fixed(created),
            package_path=root, package_cache_path=root,
        )  # fmt: skip
    if not isinstance(compiled, bytes):
        raise TypeError(f"Typst gave {type(compiled).__name__}, expected the PDF's bytes")
    return compiled


class _Writer:
    """Writes a document as JSON, and its charts and images as files beside it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = 0

    def value(self, item: Any) -> Any:  # noqa: ANN401 - any part of a document
        """The part as JSON has it."""
        if isinstance(item, str):
            return paper_text(item)
        if isinstance(item, Chart):
            return self._file("svg", item.light.encode())
        if isinstance(item, bytes):
            return self._file("png", item)
        if isinstance(item, tuple):
            return [self.value(part) for part in item]
        if is_dataclass(item):
            parts = {field.name: self.value(getattr(item, field.name)) for field in fields(item)}
            return parts | {"kind": getattr(item, "kind", "")}
        return item

    def _file(self, suffix: str, content: bytes) -> str:
        self._files += 1
        name = f"{self._files}.{suffix}"
        (self._root / name).write_bytes(content)
        return name


def paper_text(text: str) -> str:
    """The text on one line, with a sign in place of each letter that the PDF's fonts lack.

    Words longer than any hash are cut: each letter of a word is a place to break a line at, and costs.
    """
    text = " ".join(wording.short(word, _LONGEST_WORD) for word in wording.printable(text).split())
    return text if is_drawable(text) else "".join(c if is_drawable(c) else "\ufffd" for c in text)


def _fixed(moment: datetime) -> datetime:
    """The moment to the second in UTC: what a PDF can carry."""
    return moment.astimezone(UTC).replace(microsecond=0)


@cache
def _fonts() -> typst.Fonts:
    """The fonts Typst embeds, and the charts'; none of the system's, so that every machine sets alike."""
    return typst.Fonts(include_system_fonts=False, font_paths=[str(font_folder())])
