"""The HTML report: the report's own numbers, nothing of the upload as markup, nothing from elsewhere."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hostile import SLOT, TEXTS, filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tinyhtml5.parser import HTMLParser

from ladder_report.faces import Faces
from ladder_report.html import render_html
from ladder_report.labels import RECOMMENDATIONS
from ladder_report.wording import printable
from ladder_schema.report import Report

NAMESPACE = "{http://www.w3.org/1999/xhtml}"


def parse(html: str) -> tuple[ET.Element, list[str]]:
    parser = HTMLParser(namespace_html_elements=True)
    tree = parser.parse(html)
    return tree, [code for _, code, _ in parser.errors]


def elements(tree: ET.Element, name: str) -> Iterator[ET.Element]:
    return tree.iter(NAMESPACE + name)


def text_of(element: ET.Element) -> str:
    return "".join(element.itertext())


def skeleton(tree: ET.Element) -> list[tuple[Any, ...]]:
    """Elements and attribute names, with the values of those attributes that could do something."""
    active = {"href", "class", "id", "style", "http-equiv", "content"}
    return [
        (element.tag, *((name, value if name in active else None) for name, value in element.attrib.items()))
        for element in tree.iter()
        if isinstance(element.tag, str)
    ]


@pytest.fixture(scope="module")
def tree(good_faces: Faces) -> ET.Element:
    return parse(good_faces.html)[0]


@pytest.fixture(scope="module")
def slots_skeleton(slots: Report) -> list[tuple[Any, ...]]:
    return skeleton(parse(render_html(slots))[0])


def test_every_free_text_of_the_schema_is_exercised(slots: Report) -> None:
    assert slots.model_dump_json().count(f'"{SLOT}"') >= 45


@pytest.mark.parametrize("name", ["good", "minimal"])
def test_is_valid_html_with_a_verdict_on_top(
    name: str, good_faces: Faces, request: pytest.FixtureRequest
) -> None:
    report: Report = request.getfixturevalue(name)

    tree, errors = parse(good_faces.html if name == "good" else render_html(report))

    assert errors == []
    assert next(elements(tree, "html")).get("lang") == "en"
    assert RECOMMENDATIONS[report.verdict.recommendation] in text_of(next(elements(tree, "h2")))
    assert report.verdict.headline in text_of(next(elements(tree, "main")))


def test_a_minimal_report_has_no_empty_sections(minimal: Report) -> None:
    tree, _ = parse(render_html(minimal))

    sections = [section.get("id") for section in elements(tree, "section")]

    assert sections == ["verdict", "accuracy", "upload", "run", "reading"]
    targets = {element.get("id") for element in tree.iter()}
    assert {link.get("href", "").removeprefix("#") for link in elements(tree, "a")} <= targets


def test_everything_that_was_measured_has_a_section(tree: ET.Element) -> None:
    sections = {section.get("id") for section in elements(tree, "section")}

    assert sections == {
        "verdict", "accuracy", "trust", "autoattack", "curves", "classes", "conditions", "gallery",
        "hardening", "attacks", "upload", "run", "reading",
    }  # fmt: skip
    # Bars, curve, distances, 2 trade-offs, 2 confusions, reliability, 2 planes, map, losses.
    assert sum(figure.get("class") == "chart" for figure in elements(tree, "figure")) == 12


def test_failed_checks_come_first_with_their_remedy(doubtful: Report) -> None:
    tree, _ = parse(render_html(doubtful))

    lines = next(e for e in elements(tree, "ul") if e.get("class") == "checks")

    assert [line.get("class") for line in lines] == ["fail", "fail", "warn"]  # what passed is a table
    assert "What to do: Remove what blocks gradients" in text_of(lines[0])
    assert "broken by square: 263" in text_of(lines[0])


def test_the_tiles_on_top_are_the_main_results(tree: ET.Element) -> None:
    tiles = next(element for element in elements(tree, "dl") if element.get("class") == "tiles")

    labels = [text_of(label) for label in elements(tiles, "dt")]
    rates = [text_of(dd) for dd in elements(tiles, "dd") if dd.get("class") == "big"]

    assert labels == [
        "Clean images", "Worst case, white-box", "AutoAttack, L∞ 8/255", "PGD, white-box",
        "PGD L2, white-box", "LADDER, fixed examples",
    ]  # fmt: skip
    assert rates == ["97.5%", "76.7%", "76.9%", "80.3%", "83.6%", "86.7%"]


def test_asks_for_nothing_from_elsewhere_and_runs_nothing(tree: ET.Element) -> None:
    assert all(image.get("src", "").startswith("data:image/") for image in elements(tree, "img"))
    assert all(link.get("href", "").startswith("#") for link in elements(tree, "a"))
    forbidden = ("script", "link", "iframe", "object", "embed", "form", "base", "svg", "video", "audio")
    assert not [name for name in forbidden if next(elements(tree, name), None) is not None]
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert not re.search(r"url\(|@import", text_of(next(elements(tree, "style"))))


def test_is_light_enough_to_be_mailed(good_faces: Faces) -> None:
    assert len(good_faces.html) < 3 << 20


def test_is_accessible_without_sight_of_the_page(tree: ET.Element) -> None:
    assert all(image.get("alt") for image in elements(tree, "img"))
    assert all(header.get("scope") in {"row", "col"} for header in elements(tree, "th"))
    assert all(table[0].tag == f"{NAMESPACE}caption" for table in elements(tree, "table"))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(list(elements(tree, landmark))) == 1
    identifiers = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    levels = [int(e.tag[-1]) for e in tree.iter() if re.fullmatch(rf"{NAMESPACE}h[1-6]", str(e.tag))]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_chart_says_what_it_shows(tree: ET.Element, good: Report) -> None:
    said = [image.get("alt", "") for image in elements(tree, "img") if image.get("class") == "light"]

    clean = good.measurements.clean
    rates = f"Clean images: {100 * clean.before.rate:.1f}% before, {100 * clean.after.rate:.1f}% after"
    assert any(rates in alt for alt in said)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast ratio."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def test_text_stands_out_from_its_background_in_light_and_dark(tree: ET.Element) -> None:
    style = text_of(next(elements(tree, "style")))
    themes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in style.split("}")[:2]]
    surfaces = ("page", "card", "zebra", "good-wash", "bad-wash", "care-wash")

    assert [len(theme) for theme in themes] == [len(themes[0])] * 2
    for theme in themes:
        for surface in (*surfaces, "heat", "rose", "fell"):
            assert contrast(theme["ink"], theme[surface]) >= 4.5, surface
        for surface in surfaces:
            for text in ("muted", "accent", "good", "bad", "care"):
                assert contrast(theme[text], theme[surface]) >= 4.5, (text, surface)


def test_equal_reports_give_equal_pages(minimal: Report) -> None:
    assert render_html(minimal) == render_html(minimal)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.sampled_from(TEXTS), st.text(min_size=1, max_size=80)))
def test_a_hostile_text_stays_text(text: str, slots: Report, slots_skeleton: list[tuple[Any, ...]]) -> None:
    text = text if text.strip() else "blank"

    tree, errors = parse(render_html(filled(slots, text)))

    assert errors == []
    assert skeleton(tree) == slots_skeleton
    headline = next(e for e in tree.iter() if e.get("class") == "headline")
    assert text_of(headline).split() == printable(text[:200]).split()
