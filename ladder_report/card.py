"""The model card: Hugging Face's Markdown with metadata, to lie beside the hardened model.

The metadata follow the Hub's model card specification, https://huggingface.co/docs/hub/model-cards. Every
text of the report is escaped: none can become a heading, a link, HTML or a further table.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from ladder_report import wording
from ladder_report.document.blocks import (
    Block,
    Bullets,
    Cell,
    Checks,
    Columns,
    Document,
    Facts,
    Heading,
    Paragraph,
    Section,
    Table,
)
from ladder_report.document.build import build_document
from ladder_report.labels import METHODS, NORMS, RECOMMENDATIONS, STATUSES, attack_label, has_no_radius
from ladder_schema.report import Accuracy, Report

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&#!{}])")
_LINK = re.compile(r"(https?|ftp)(:)(?=/)|\b(www)(\.)", re.IGNORECASE)
_LINE_START = re.compile(r"^([-+=:])|^(\d+)([.)])(?=\s|$)")
_FACE_SECTIONS = frozenset({"gallery", "reading"})
"""Sections that are pictures, or say how to read the page."""


def render_card(report: Report) -> str:
    """Render a report as a model card.

    Args:
        report: The validated value; where it came from need not be trusted.

    Returns:
        Markdown that begins with YAML metadata. Equal reports give equal cards.
    """
    return set_card(build_document(report), report)


def set_card(document: Document, report: Report) -> str:
    """Set a document as a model card, with the report's results as metadata."""
    metadata = yaml.safe_dump(_metadata(report), sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{metadata}---\n\n" + "\n".join(_body(document, report)).rstrip() + "\n"


def escape(text: str) -> str:
    """The text on one line, so that Markdown shows it as it is."""
    text = " ".join(wording.printable(text).split())
    text = _LINK.sub(
        lambda found: f"{found[1] or found[3]}\\{found[2] or found[4]}", _SPECIAL.sub(r"\\\1", text)
    )
    return _LINE_START.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", text)


def _metadata(report: Report) -> dict[str, Any]:
    name = f"hardened-{_plain(report.model.sha256)[:12]}"
    return {
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "adversarial-robustness", f"{report.config.method}-hardening"],
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [_result(report)]}],
    }


def _result(report: Report) -> dict[str, Any]:
    measured = report.measurements
    metrics = [_metric("Clean accuracy", measured.clean.after)]
    if any(result.setting == "white_box" for result in measured.attacks):
        metrics.append(_metric("Worst-case accuracy over white-box attacks", measured.worst_case.after))
    if auto := measured.autoattack:
        name = f"AutoAttack {auto.version}, {NORMS[auto.norm]} {wording.radius(auto.epsilon)}"
        metrics.append(_metric(name, auto.outcome.after))
    metrics += [
        _metric(f"Accuracy under {attack_label(result)}", result.outcome.after)
        for result in measured.attacks
        if not has_no_radius(result)
    ]
    dataset = {
        "type": "image-classification",
        "name": f"Uploaded test split, SHA-256 {_plain(report.dataset.sha256)[:12]}",
    }
    return {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}


def _metric(name: str, accuracy: Accuracy) -> dict[str, Any]:
    return {"type": "accuracy", "name": name, "value": accuracy.rate, "verified": False}


def _plain(text: str) -> str:
    """Letters and digits alone."""
    return re.sub(r"[^0-9A-Za-z]", "", text)


def _body(document: Document, report: Report) -> Iterator[str]:
    summary = document.summary
    yield f"# Hardened image classifier: {RECOMMENDATIONS[summary.recommendation].lower()}\n"
    yield f"**{escape(summary.headline)}**\n"
    for found in summary.findings:
        yield f"## {found.title}\n"
        yield from _bullets(found.texts)
    yield "## Intended use\n"
    yield from _bullets(_intended(report))
    for section in document.sections:
        if section.name not in _FACE_SECTIONS:
            yield from _section(section)
    yield escape(document.closing)


def _intended(report: Report) -> list[str]:
    threat = report.config.threat_model
    radius = f"{NORMS[threat.norm]} radius {wording.radius(threat.epsilon)}"
    use = {
        "deploy": "Takes the place of the classifier it was made from",
        "deploy_with_care": "Takes the place of the classifier it was made from, within the limits above",
        "do_not_deploy": "Not for use; where it is used all the same, it takes the place of its original",
    }[report.verdict.recommendation]
    return [
        f"{use}: same inputs, same outputs, same parameter names.",
        f"Hardened by {METHODS[report.config.method]} and measured against perturbations of {radius}.",
        "Nothing is claimed for other data, larger perturbations, or attacks that are not in the tables.",
    ]


def _section(section: Section) -> Iterator[str]:
    lines = [line for block in section.blocks for line in _block(block)]
    if lines:
        yield f"## {section.title}\n"
        if section.lead:
            yield f"{escape(section.lead)}\n"
        yield from lines


def _block(block: Block) -> Iterator[str]:
    """A block's Markdown; pictures are left to the page."""
    match block:
        case Table():
            yield from _table(block)
        case Facts():
            if block.title:
                yield f"### {escape(block.title)}\n"
            yield from _bullets(f"{name}: {value}" for name, value in block.rows)
        case Bullets():
            yield from _bullets(block.texts)
        case Paragraph():
            yield f"{escape(block.text)}\n"
        case Checks():
            yield from _checks(block)
        case Columns():
            for group in block.groups:
                for part in group:
                    yield from _block(part)
        case Heading() | _:
            return


def _table(table: Table) -> Iterator[str]:
    yield f"{escape(table.caption)}:\n"
    yield f"| {' | '.join(escape(column.title) for column in table.columns)} |"
    yield f"|{'|'.join('---:' if column.is_number else ':---' for column in table.columns)}|"
    for row in table.rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""
    if table.cut:
        yield f"{escape(table.cut)}\n"


def _cell(cell: Cell) -> str:
    return "<br>".join(escape(text) for text in (cell.text, *cell.notes))


def _checks(checks: Checks) -> Iterator[str]:
    yield "| Check | Of | Outcome | Finding | What to do |"
    yield "|:---|:---|:---|:---|:---|"
    for line in checks.lines:
        evidence = ", ".join(f"{name}: {value}" for name, value in line.evidence)
        finding = _cell(Cell(line.finding, (evidence,) if evidence else ()))
        cells = (line.title, line.of, STATUSES[line.status])
        yield f"| {' | '.join(map(escape, cells))} | {finding} | {escape(line.remedy or '')} |"
    yield ""


def _bullets(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield f"- {escape(text)}"
    yield ""
