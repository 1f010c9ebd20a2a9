"""What the document lets stand out: only what is measured, and counts."""

from ladder_report.document.conditions import conditions_section
from ladder_report.document.results import accuracy_section, autoattack_section
from ladder_report.document.settings import settings_section, written_parameters
from ladder_report.labels import component_label, corruption_label
from ladder_schema.report import AttackResult, CorruptionResult, Measurements, Paired, Report

GAIN = Paired(both=100, only_before=0, only_after=80, neither=20)
SAME = Paired(both=100, only_before=2, only_after=4, neither=94)


def attack(name: str, setting: str, **parameters: float | str) -> AttackResult:
    return AttackResult(
        attack=name,
        setting=setting,
        parameters=parameters,
        outcome=GAIN,
        attacked_before=200,
        attacked_after=200,
        median_l2_before=0.5,
        median_l2_after=1.25,
    )


def rows(section) -> dict[str, tuple]:
    table = next(block for block in section.blocks if block.kind == "table")
    return {row[0].text: row for row in table.rows}


def test_only_changes_that_count_are_coloured() -> None:
    attacks = (
        attack("pgd", "white_box", norm="linf", epsilon=0.1),
        attack("pgd", "transfer", norm="linf", epsilon=0.1),
        attack("cw", "white_box", steps=9),
    )
    section = accuracy_section(Measurements(clean=SAME, attacks=attacks, worst_case=GAIN))
    found = rows(section)
    tones = {name: row[3].tone for name, row in found.items()}
    assert tones == {
        "Clean images": "same",
        "Worst case, white-box": "up",
        "PGD, white-box": "up",
        "PGD, transfer": "same",
        "CW, white-box": "same",
    }
    assert any("not counted" in note for note in found["PGD, transfer"][0].notes)
    assert "median L2 0.5" in found["CW, white-box"][1].notes
    assert "median L2 1.25" in found["CW, white-box"][2].notes
    bars = next(block for block in section.blocks if block.kind == "figures").figures[0].alt
    assert "PGD, white-box" in bars
    assert "CW" not in bars, "accuracy under an attack without a radius is no bar"


def test_only_measured_corruptions_are_coloured() -> None:
    results = tuple(
        CorruptionResult(corruption=name, severity=severity, outcome=GAIN if severity == 5 else SAME)
        for name in ("gaussian_noise", "jpeg")
        for severity in range(1, 6)
    )
    section = conditions_section(Measurements(clean=SAME, attacks=(), worst_case=SAME, corruptions=results))
    found = rows(section)
    assert list(found) == ["Gaussian noise", "JPEG"]
    assert [cell.shift for cell in found["JPEG"][1:]] == [0, 0, 0, 0, 5]


def test_names_are_the_fields_own(good: Report) -> None:
    assert written_parameters({"norm": "linf", "epsilon": 8 / 255, "top_k": 10}) == (
        "L\N{INFINITY} \N{MIDDLE DOT} \N{GREEK SMALL LETTER EPSILON} 0.03137 = 8/255 \N{MIDDLE DOT} top k 10"
    )
    assert component_label("apgd-ce") == "APGD-CE"
    assert component_label("<b>") == "<b>"
    assert corruption_label("defocus_blur") == "Defocus blur"
    assert good.measurements.autoattack is not None
    components = autoattack_section(good.measurements.autoattack).blocks[1]
    assert [row[0].text for row in components.rows] == ["APGD-CE", "APGD-T", "FAB-T", "Square"]


def test_the_settings_tell_of_the_curve_and_of_autoattack(good: Report) -> None:
    found = rows(settings_section(good.measurements))
    assert any("curve against the radius" in name for name in found)
    assert any(name.startswith("AutoAttack") for name in found)
