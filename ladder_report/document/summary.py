"""The top of the report: the verdict in plain words, how sure it is, and the main results as tiles."""

from collections import Counter

from ladder_report import wording
from ladder_report.document.blocks import Bullets, Summary, Tile
from ladder_report.document.cells import change_cell, left_out
from ladder_report.labels import attack_label, autoattack_label
from ladder_schema.report import Paired, Report, Status

_MAX_TILES = 6
_MAX_SENTENCES = 20
_LONGEST = 1_000
_OUTCOMES: dict[Status, str] = {
    "pass": "passed",
    "warn": "gave a warning",
    "fail": "failed",
    "not_run": "could not be run",
}


def summary(report: Report) -> Summary:
    """What got better, what got worse, how sure that is, and what limits it."""
    verdict = report.verdict
    findings = (
        Bullets("What got better", _shown(verdict.better)),
        Bullets("What got worse", _shown(verdict.worse)),
        Bullets("How sure", tuple(_certainties(report))),
        Bullets("Limits of these figures", _shown(verdict.limits)),
    )
    return Summary(
        recommendation=verdict.recommendation,
        headline=verdict.headline,
        findings=tuple(found for found in findings if found.texts),
        tiles=tuple(_tile(label, paired) for label, paired in _main_results(report)[:_MAX_TILES]),
    )


def _shown(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The first of many sentences: what nobody reads through is no summary."""
    shown = tuple(wording.short(text, _LONGEST) for text in texts[:_MAX_SENTENCES])
    cut = left_out(len(shown), len(texts), "sentences")
    return (*shown, cut) if cut else shown


def _certainties(report: Report) -> list[str]:
    measured = report.measurements
    texts = [_certain("Clean accuracy", measured.clean)]
    if _has_white_box(report):
        texts.append(_certain("Worst-case robust accuracy", measured.worst_case))
    if report.checks:
        statuses = Counter(check.status for check in report.checks)
        # Where a check failed, nothing below it is as sure as it looks.
        texts.insert(0 if statuses["fail"] else len(texts), _checked(statuses))
    return texts


def _certain(subject: str, paired: Paired) -> str:
    """What changed and what McNemar's test says of it, as a sentence."""
    total = wording.count(paired.total)
    if not paired.only_before + paired.only_after:
        return f"{subject}: both models are right about the same of the {total} images."
    uneven = (
        f"{wording.count(paired.only_after)} of {total} images turned right and "
        f"{wording.count(paired.only_before)} wrong"
    )
    is_measured = paired.improved or paired.worsened
    verdict = "so uneven a change is hardly chance" if is_measured else "chance alone may do that"
    return f"{subject}: {uneven}; {verdict} (McNemar's test, {wording.p_value(paired.p_value)})."


def _checked(statuses: Counter[Status]) -> str:
    words = [f"{statuses[status]} {word}" for status, word in _OUTCOMES.items() if statuses[status]]
    if statuses["fail"]:
        conclusion = "the figures cannot be relied on as they are."
    elif statuses["warn"]:
        conclusion = "read the warnings before you rely on them."
    else:
        conclusion = "nothing speaks against them." if statuses["pass"] else "nothing is known of them."
    return f"Checks of these figures: {', '.join(words)}; {conclusion}"


def _main_results(report: Report) -> list[tuple[str, Paired]]:
    measured = report.measurements
    results = [("Clean images", measured.clean)]
    if _has_white_box(report):
        results.append(("Worst case, white-box", measured.worst_case))
    if auto := measured.autoattack:
        results.append((autoattack_label(auto), auto.outcome))
    return results + [
        (attack_label(result), result.outcome)
        for result in measured.attacks
        if result.attack == "ladder" or (result.setting == "white_box" and result.attack == "pgd")
    ]


def _tile(label: str, paired: Paired) -> Tile:
    return Tile(
        label=label, before=paired.before.rate, after=paired.after.rate,
        was=wording.percent(paired.before.rate), now=wording.percent(paired.after.rate),
        change=change_cell(paired), sure=wording.certainty(paired),
    )  # fmt: skip


def _has_white_box(report: Report) -> bool:
    return any(result.setting == "white_box" for result in report.measurements.attacks)
