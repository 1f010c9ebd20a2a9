"""The PDF report: text stays text, whatever it says; tagged, dated, the same every time."""

import io
import socket

import pytest
from hostile import TEXTS, filled
from pypdf import PdfReader

from ladder_report.document.build import build_document
from ladder_report.faces import Faces
from ladder_report.pdf import paper_text, render_pdf, set_pdf
from ladder_schema.report import Report


def read(pdf: bytes) -> PdfReader:
    return PdfReader(io.BytesIO(pdf))


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in read(pdf).pages)


@pytest.fixture(scope="module")
def reader(good_faces: Faces) -> PdfReader:
    return read(good_faces.pdf)


def test_has_metadata_tags_and_page_numbers(reader: PdfReader, good_pages: list[str], good: Report) -> None:
    assert reader.metadata is not None
    assert reader.metadata.title == "Robustness report: Deploy"
    assert reader.metadata.subject == good.verdict.headline
    assert reader.metadata.creation_date == good.created_at
    catalog = reader.trailer["/Root"]
    assert catalog["/MarkInfo"]["/Marked"]
    assert catalog["/Lang"] == "en"
    for number, text in enumerate(good_pages, 1):
        assert f"{number} of {len(good_pages)}" in text
    assert [float(side) for side in reader.pages[0].mediabox[2:]] == pytest.approx([595.28, 841.89], abs=0.1)


def test_its_sections_are_those_of_the_document(reader: PdfReader, good: Report) -> None:
    outline = [entry.title for entry in reader.outline if not isinstance(entry, list)]

    assert outline == [section.title for section in build_document(good).sections]


def test_charts_and_images_say_what_they_show(reader: PdfReader) -> None:
    def alternatives(element):
        element = element.get_object() if hasattr(element, "get_object") else element
        if isinstance(element, dict):
            if "/Alt" in element:
                yield str(element["/Alt"])
            children = element.get("/K", [])
            for child in children if isinstance(children, list) else [children]:
                yield from alternatives(child)

    said = list(alternatives(reader.trailer["/Root"]["/StructTreeRoot"]))

    assert any(alt.startswith("Bar chart of accuracy") for alt in said)
    assert any(alt.startswith("Original image of") for alt in said)


def test_equal_reports_give_equal_files(minimal: Report) -> None:
    assert render_pdf(minimal) == render_pdf(minimal)


def test_needs_no_network(minimal: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    before = text_of(render_pdf(minimal))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setenv(variable, f"http://127.0.0.1:{closed.getsockname()[1]}")

    assert text_of(render_pdf(minimal)) == before


def test_hostile_texts_are_shown_and_do_nothing(minimal: Report) -> None:
    texts = tuple(text[:200] for text in TEXTS)
    verdict = minimal.verdict.model_copy(update={"better": texts})

    pdf = render_pdf(minimal.model_copy(update={"verdict": verdict}))

    shown = "".join(text_of(pdf).split())
    for text in texts:
        word = "".join(paper_text(text).split())[:30]
        if word.isascii():
            assert word in shown
    assert not any("/Annots" in page for page in read(pdf).pages)


@pytest.mark.parametrize("text", [TEXTS[11], TEXTS[-1]])
def test_hostile_texts_everywhere_render(text: str, slots: Report) -> None:
    assert len(read(render_pdf(filled(slots, text))).pages) > 3


def test_letters_that_no_font_has_are_marked(minimal: Report) -> None:
    document = build_document(minimal.model_copy(update={"device": "a \u732b"}))

    assert "a \ufffd" in text_of(set_pdf(document, minimal.created_at))
