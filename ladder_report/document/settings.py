"""How each attack was set."""

from ladder_report import wording
from ladder_report.document.blocks import Cell, Column, Facts, Section, Table
from ladder_report.labels import ATTACKS, NORMS, SETTINGS, attack_label, autoattack_label
from ladder_schema.report import Measurements, Parameters

_MAX_PARAMETERS = 20
_LONGEST = 80


def settings_section(measured: Measurements) -> Section | None:
    """What every attack was told, what it cost, and how far it had to go."""
    if not measured.attacks:
        return None
    table = Table(
        "Settings of each attack; queries are forward passes an image, both models together; distances are "
        "medians over broken images",
        (
            Column("Attack", is_number=False),
            Column("Settings", is_number=False),
            Column("Broken of attacked, before"),
            Column("Broken of attacked, after"),
            Column("Queries"),
        ),
        tuple(
            (
                Cell(attack_label(result), ("trained on",) if result.trained_on else ()),
                Cell(written_parameters(result.parameters)),
                _broken(result.broken_before, result.attacked_before, result.median_l2_before),
                _broken(result.broken_after, result.attacked_after, result.median_l2_after),
                Cell("" if result.mean_queries is None else f"{result.mean_queries:,.0f}"),
            )
            for result in measured.attacks
        )
        + _others(measured),
    )
    used = dict.fromkeys(result.setting for result in measured.attacks)
    facts = Facts("Settings of knowledge", tuple((SETTINGS[s].capitalize(), _MEANINGS[s]) for s in used))
    return Section(
        "attacks",
        "How each attack was set",
        "What each attack was told, what it cost, and how far it went.",
        (table, facts),
    )


_MEANINGS = {
    "white_box": "The attack knows the model it is tested on, weights included: the hardest setting.",
    "transfer": "Images made against the uploaded model and shown to both: an adversary who knows the model "
    "from before hardening. They do not adapt to the hardened model. An iterative attack gives its "
    "last image here, not the first that succeeds: so that it may differ a little from white-box.",
    "surrogate": "Images made against an independently trained model of the same architecture and shown to "
    "both: an adversary who knows the architecture and the data.",
    "fixed": "Images made once, by a procedure that works on the original's latent space, and shown to both.",
}


def _broken(broken: int, attacked: int, distance: float | None) -> Cell:
    notes = () if distance is None else (f"L2 {wording.number(distance)}",)
    return Cell(f"{wording.count(broken)} of {wording.count(attacked)}", notes)


def _others(measured: Measurements) -> tuple[tuple[Cell, ...], ...]:
    """AutoAttack and the curves, which are not among the attacks."""
    rows: list[tuple[Cell, ...]] = []
    if summary := measured.autoattack:
        told = f"{NORMS[summary.norm]} \N{MIDDLE DOT} {summary.version}"
        rows.append((Cell(autoattack_label(summary)), Cell(told), Cell(""), Cell(""), Cell("")))
    for curve in measured.curves:
        name = f"{ATTACKS[curve.attack]}, curve against the radius"
        rows.append((Cell(name), Cell(written_parameters(curve.parameters)), Cell(""), Cell(""), Cell("")))
    return tuple(rows)


def written_parameters(parameters: Parameters, most: int = _MAX_PARAMETERS) -> str:
    """Names and values on one line, the norm and the radius by their signs."""
    return " \N{MIDDLE DOT} ".join(_parameter(*item) for item in list(parameters.items())[:most])


def _parameter(name: str, value: object) -> str:
    if name == "norm" and value in NORMS:
        return NORMS[str(value)]
    shown = "\N{GREEK SMALL LETTER EPSILON}" if name == "epsilon" else name.replace("_", " ")
    return f"{wording.short(shown, _LONGEST)} {wording.short(wording.parameter(name, value), _LONGEST)}"
