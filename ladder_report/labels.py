"""What attacks, settings, checks and classes are called in the report."""

from collections.abc import Mapping

from ladder_report import wording
from ladder_schema.report import (
    AttackName,
    AttackResult,
    AutoAttackSummary,
    CheckName,
    Setting,
    Status,
    TermName,
)

RECOMMENDATIONS: Mapping[str, str] = {
    "deploy": "Deploy",
    "deploy_with_care": "Deploy with care",
    "do_not_deploy": "Do not deploy",
}
METHODS: Mapping[str, str] = {
    "ladder": "LADDER, latent boundary-guided adversarial training",
    "pgd": "PGD adversarial training",
}
ATTACKS: Mapping[AttackName, str] = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "di_fgsm": "DI²-FGSM",
    "cw": "CW",
    "deepfool": "DeepFool",
    "jsma": "JSMA",
    "apgd_ce": "APGD-CE",
    "apgd_dlr": "APGD-DLR",
    "apgd_t": "APGD-T",
    "fab_t": "FAB-T",
    "square": "Square",
    "autoattack": "AutoAttack",
    "song": "Song et al.",
    "ladder": "LADDER",
}
TERMS: Mapping[TermName, str] = {
    "clean": "clean images",
    "adversarial": "adversarial images",
    "divergence": "divergence (TRADES)",
    "ladder": "LADDER examples",
    "latent": "moved latents",
}
SETTINGS: Mapping[Setting, str] = {
    "white_box": "white-box",
    "transfer": "transfer",
    "surrogate": "surrogate",
    "fixed": "fixed examples",
}
NORMS: Mapping[str, str] = {"linf": "L\N{INFINITY}", "l2": "L2"}
CHECKS: Mapping[CheckName, str] = {
    "black_box_beats_white_box": "White-box attacks are the stronger ones",
    "one_step_beats_many": "Many steps do more than one",
    "unbounded_attack_fails": "A large enough radius breaks everything",
    "zero_gradients": "Gradients are not zero",
    "non_finite_gradients": "Gradients are finite",
    "not_deterministic": "The same image gets the same answer",
    "square_beats_apgd": "Gradients beat random search",
    "loss_not_monotone": "More steps raise the loss",
    "too_few_samples": "There are enough samples for the claim",
    "validation_in_training": "Test images were not trained on",
    "label_noise": "The labels can be believed",
}
CHECKED: Mapping[str, str] = {
    "original": "original model",
    "hardened": "hardened model",
    "data": "data",
}
STATUSES: Mapping[Status, str] = {"pass": "passed", "warn": "warning", "fail": "failed", "not_run": "not run"}


def attack_label(result: AttackResult) -> str:
    """Name of an attack in its setting, e.g. ``PGD, white-box``; with its norm where it is not Linf.

    Square asks the model it is tested on, but sees its scores alone (Andriushchenko et al. 2020).
    """
    norm = " L2" if result.parameters.get("norm") == "l2" and result.attack != "cw" else ""
    by_queries = result.attack == "square" and result.setting == "white_box"
    setting = "query (black-box)" if by_queries else SETTINGS[result.setting]
    return f"{ATTACKS[result.attack]}{norm}, {setting}"


def has_no_radius(result: AttackResult) -> bool:
    """Whether an attack goes as far as it has to: then accuracy under it says next to nothing."""
    return result.attack in {"cw", "deepfool", "jsma"} and "epsilon" not in result.parameters


def component_label(name: str) -> str:
    """Name of an attack of AutoAttack's ensemble, e.g. ``APGD-CE`` for ``apgd-ce``."""
    return next((label for label in ATTACKS.values() if label.lower() == name.lower()), name)


def corruption_label(name: str) -> str:
    """Name of a corruption, e.g. ``Gaussian noise`` for ``gaussian_noise``."""
    if name == "jpeg":
        return "JPEG"
    return wording.short(name.replace("_", " ").capitalize())


def autoattack_label(summary: AutoAttackSummary) -> str:
    """Name of the ensemble in its threat model."""
    return f"AutoAttack, {NORMS[summary.norm]} {wording.radius(summary.epsilon)}"


def class_label(names: tuple[str, ...], index: int) -> str:
    """Name of a class, or its number where the dataset has no name for it."""
    return names[index] if index < len(names) and names[index].strip() else f"class {index}"
