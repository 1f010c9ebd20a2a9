"""Puts the document together, in the order somebody who has to decide reads it."""

from datetime import UTC

from ladder_report.document.blocks import Document
from ladder_report.document.classes import classes_section
from ladder_report.document.conditions import conditions_section
from ladder_report.document.curves import curves_section
from ladder_report.document.hardening import hardening_section
from ladder_report.document.origin import reading_section, run_section, upload_section
from ladder_report.document.pictures import examples_section
from ladder_report.document.results import accuracy_section, autoattack_section
from ladder_report.document.settings import settings_section
from ladder_report.document.summary import summary
from ladder_report.document.trust import trust_section
from ladder_report.labels import METHODS
from ladder_schema.report import Report


def build_document(report: Report) -> Document:
    """Write a report as a document.

    Args:
        report: The validated value; where it came from need not be trusted.

    Returns:
        Its sections without those of which nothing was measured. Equal reports give equal documents.
    """
    measured, names = report.measurements, report.dataset.class_names
    created = report.created_at.astimezone(UTC)
    sections = (
        accuracy_section(measured),
        trust_section(report.checks),
        autoattack_section(measured.autoattack) if measured.autoattack else None,
        curves_section(measured, report.config.threat_model),
        classes_section(measured, names),
        conditions_section(measured),
        examples_section(report.pictures, names),
        hardening_section(report),
        settings_section(measured),
        upload_section(report),
        run_section(report),
        reading_section(),
    )
    return Document(
        title="Robustness report",
        subtitle=METHODS[report.config.method],
        created=f"{created.day} {created:%B %Y, %H:%M} UTC",
        summary=summary(report),
        sections=tuple(section for section in sections if section is not None),
        closing=f"Report format {report.report_version}. The JSON report of the same job holds these numbers "
        "for programs, and its schema says what each means.",
    )
