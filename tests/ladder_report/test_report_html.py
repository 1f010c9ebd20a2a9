"""The HTML report: the report's own numbers, nothing of the upload as markup, nothing from elsewhere."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tinyhtml5.parser import HTMLParser

from ladder_report.html import render_html
from ladder_report.wording import printable
from ladder_schema.report import Report

NAMESPACE = "{http://www.w3.org/1999/xhtml}"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "</style><style>@import url(https://evil.example/x.css);",
    "</td></table><h1>Deploy</h1>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "' onmouseover='alert(1)",
    "&lt;b&gt; &amp; <!-- --> ]]>",
    "javascript:alert(1)",
    "\u202egnp.exe\u202c",
    "\x00\x1b[31m\ufffe",
)


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


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every string of a nested value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    elif isinstance(value, str):
        yield path


def with_text(report: Report, text: str) -> Report:
    """The report with the text in every field that takes any text; hashes and names included."""
    data = report.model_dump(mode="json")
    for attack in data["attacks"]:
        attack["parameters"] = {text: text}
    data["versions"] = {text: text}
    for path in leaves(data):
        changed = deepcopy(data)
        parent = changed
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = text
        try:
            Report.model_validate(changed)
        except ValidationError:
            continue
        data = changed
    return Report.model_validate(data)


@pytest.fixture(scope="session")
def slots(full: Report) -> Report:
    """A report whose every free text is one recognisable word, and short, to render fast."""
    short = {"gallery": full.gallery[:1], "attacks": full.attacks[:1], "losses": full.losses[:1]}
    return with_text(full.model_copy(update=short), "slot")


@pytest.fixture(scope="session")
def slots_skeleton(slots: Report) -> list[tuple[Any, ...]]:
    return skeleton(parse(render_html(slots))[0])


def test_every_free_text_of_the_schema_is_exercised(slots: Report) -> None:
    texts = slots.model_dump_json().count('"slot"')

    assert texts >= 25


@pytest.mark.parametrize("report_name", ["full", "minimal"])
def test_is_valid_html_with_a_verdict_on_top(report_name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(report_name)

    tree, errors = parse(render_html(report))

    assert errors == []
    assert next(elements(tree, "html")).get("lang") == "en"
    headings = [text_of(heading) for heading in elements(tree, "h2")]
    assert {"deploy_with_care": "Deploy with care", "do_not_deploy": "Do not deploy"}[
        report.verdict.recommendation
    ] in headings[0]
    assert report.verdict.headline in text_of(next(elements(tree, "main")))


def test_a_minimal_report_has_no_empty_sections(minimal: Report) -> None:
    tree, _ = parse(render_html(minimal))

    headings = {text_of(heading) for name in ("h2", "h3") for heading in elements(tree, name)}

    assert headings.isdisjoint(
        {"Adversarial examples", "Generator fidelity", "Retraining", "What got better"}
    )
    targets = {element.get("id") for element in tree.iter()}
    assert {link.get("href", "").removeprefix("#") for link in elements(tree, "a")} <= targets


def test_shows_the_numbers_of_the_report(full: Report) -> None:
    tree, _ = parse(render_html(full))
    table = next(t for t in elements(tree, "table") if t.get("class") == "results")
    rows = [[text_of(cell) for cell in row] for row in elements(table, "tr")][1:]

    expected = [(full.clean_before, full.clean_after)] + [(a.before, a.after) for a in full.attacks]

    assert len(rows) == len(expected)
    for (_, *cells, change), accuracies in zip(rows, expected, strict=True):
        for cell, accuracy in zip(cells, accuracies, strict=True):
            low, high = accuracy.interval
            assert cell.split("%")[0] == f"{100 * accuracy.rate:.1f}"
            assert f"{accuracy.correct} of {accuracy.total}" in cell
            assert f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}%" in cell
        before, after = accuracies
        overlap = before.interval[0] <= after.interval[1] and after.interval[0] <= before.interval[1]
        assert change.endswith("intervals overlap") == overlap
        shown = float(
            change.split("intervals")[0]
            .strip()
            .replace("\N{MINUS SIGN}", "-")
            .replace("\N{PLUS-MINUS SIGN}", "")
        )
        assert shown == pytest.approx(100 * (after.rate - before.rate), abs=0.051)


def test_the_tiles_on_top_are_the_main_results(full: Report) -> None:
    tree, _ = parse(render_html(full))
    tiles = next(element for element in elements(tree, "dl") if element.get("class") == "tiles")

    assert [text_of(label) for label in elements(tiles, "dt")] == [
        "Clean images",
        "FGSM, white-box",
        "PGD, white-box",
        "LADDER, transfer",
    ]
    assert [float(text_of(dd).rstrip("%")) for dd in elements(tiles, "dd") if dd.get("class") == "big"] == [
        97.5, 85.0, 80.3, 86.7,
    ]  # fmt: skip


def test_asks_for_nothing_from_elsewhere_and_runs_nothing(full: Report) -> None:
    html = render_html(full)
    tree, _ = parse(html)

    assert all(image.get("src", "").startswith("data:image/") for image in elements(tree, "img"))
    assert all(link.get("href", "").startswith("#") for link in elements(tree, "a"))
    forbidden = ("script", "link", "iframe", "object", "embed", "form", "base", "svg", "video", "audio")
    assert not [name for name in forbidden if next(elements(tree, name), None) is not None]
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert not re.search(r"url\(|@import", text_of(next(elements(tree, "style"))))


def test_is_accessible_without_sight_of_the_page(full: Report) -> None:
    tree, _ = parse(render_html(full))

    assert all(image.get("alt") for image in elements(tree, "img"))
    assert all(header.get("scope") in {"row", "col"} for header in elements(tree, "th"))
    assert all(table[0].tag == f"{NAMESPACE}caption" for table in elements(tree, "table"))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(list(elements(tree, landmark))) == 1
    identifiers = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    levels = [int(e.tag[-1]) for e in tree.iter() if re.fullmatch(rf"{NAMESPACE}h[1-6]", str(e.tag))]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_equal_reports_give_equal_pages(full: Report) -> None:
    assert render_html(full) == render_html(full)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=80)))
def test_a_hostile_text_stays_text(text: str, slots: Report, slots_skeleton: list[tuple[Any, ...]]) -> None:
    text = text if text.strip() else "blank"
    hostile = Report.model_validate_json(slots.model_dump_json().replace('"slot"', json.dumps(text)))

    tree, errors = parse(render_html(hostile))

    assert errors == []
    assert skeleton(tree) == slots_skeleton
    assert (
        printable(text).split()
        == text_of(next(e for e in tree.iter() if e.get("class") == "headline")).split()
    )
