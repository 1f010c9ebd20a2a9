"""The PDF report: text stays text, whatever it says; tagged, dated, the same every time."""

import io
import socket
from itertools import pairwise

import pytest
from hostile import TEXTS, short_report, with_text
from pypdf import PdfReader

from ladder_report.document.build import build_document
from ladder_report.pdf import render_pdf, set_pdf
from ladder_schema.report import Report


def read(pdf: bytes) -> PdfReader:
    return PdfReader(io.BytesIO(pdf))


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in read(pdf).pages)


@pytest.fixture(scope="module")
def pdf(good: Report) -> bytes:
    return render_pdf(good)


def test_has_metadata_tags_and_page_numbers(pdf: bytes, good: Report) -> None:
    reader = read(pdf)

    assert reader.metadata is not None
    assert reader.metadata.title == "Robustness report: Deploy"
    assert reader.metadata.subject == good.verdict.headline
    assert reader.metadata.creation_date == good.created_at
    catalog = reader.trailer["/Root"]
    assert catalog["/MarkInfo"]["/Marked"]
    assert catalog["/Lang"] == "en"
    count = len(reader.pages)
    for number, page in enumerate(reader.pages, 1):
        assert f"{number} of {count}" in page.extract_text()
        assert [float(side) for side in page.mediabox[2:]] == pytest.approx([595.28, 841.89], abs=0.1)


def test_its_sections_are_those_of_the_document(pdf: bytes, good: Report) -> None:
    text = text_of(pdf)

    places = [text.find(section.title) for section in build_document(good).sections]

    assert min(places) > 0
    assert all(before < after for before, after in pairwise(places))


def test_charts_and_images_say_what_they_show(pdf: bytes) -> None:
    def alternatives(element):
        element = element.get_object() if hasattr(element, "get_object") else element
        if isinstance(element, dict):
            if "/Alt" in element:
                yield str(element["/Alt"])
            children = element.get("/K", [])
            for child in children if isinstance(children, list) else [children]:
                yield from alternatives(child)

    said = list(alternatives(read(pdf).trailer["/Root"]["/StructTreeRoot"]))

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


@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_text_is_shown_and_does_nothing(text: str, minimal: Report) -> None:
    short = text[:200]

    pdf = render_pdf(with_text(minimal, short))

    shown = "".join(text_of(pdf).split())
    letters = [letter for letter in "".join(short.split()) if letter.isascii() and letter.isprintable()]
    word = "".join(letters[:12])
    assert word in shown or not word.isascii() or len(word) < 3
    assert "/URI" not in str(read(pdf).pages[0].get("/Annots"))


def test_hostile_texts_everywhere_render() -> None:
    report = with_text(short_report(), TEXTS[-1][:200])

    assert len(read(render_pdf(report)).pages) > 3


def test_letters_that_no_font_has_are_marked(minimal: Report) -> None:
    document = build_document(minimal.model_copy(update={"device": "a \u732b"}))

    assert "a \ufffd" in text_of(set_pdf(document, minimal.created_at))
