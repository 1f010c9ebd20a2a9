"""Reports to render: one with everything, one with only what every method has."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from sklearn.datasets import load_digits

from ladder_schema.config import resolve_config
from ladder_schema.report import Report

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def accuracy(correct: int, total: int = 360) -> dict[str, int]:
    return {"correct": correct, "total": total}


def attack(name: str, setting: str, before: int, after: int, **parameters: Any) -> dict[str, Any]:
    return {
        "attack": name,
        "setting": setting,
        "parameters": parameters,
        "before": accuracy(before),
        "after": accuracy(after),
    }


def thumbnail(pixels: bytes, side: int = 8, channels: int = 1) -> dict[str, Any]:
    encoded = base64.b64encode(pixels).decode()
    return {"height": side, "width": side, "channels": channels, "pixels": encoded}


def gallery() -> list[dict[str, Any]]:
    """Digits beside a mixture with another digit, as an example across a boundary looks."""
    digits = load_digits()
    images = (digits.images * 15.9375).astype("uint8")
    items = []
    for index in range(8):
        original, other = images[index], images[index + 11]
        adversarial = (0.65 * original + 0.35 * other).astype("uint8")
        items.append(
            {
                "original": thumbnail(original.tobytes()),
                "adversarial": thumbnail(adversarial.tobytes()),
                "label": int(digits.target[index]),
                "rho": 1.2,
                "predicted_original": int(digits.target[index]),
                "predicted_adversarial": int(digits.target[index + 11]),
                "predicted_hardened": int(digits.target[index + (11 if index == 5 else 0)]),
            }
        )
    return items


def full_report() -> dict[str, Any]:
    epsilon = 8 / 255
    return {
        "created_at": datetime(2026, 3, 14, 15, 9, tzinfo=UTC),
        "config": resolve_config({"seed": 7}).model_dump(),
        "verdict": {
            "recommendation": "deploy_with_care",
            "headline": "Much harder to fool across class boundaries, for 0.6 points of clean accuracy.",
            "better": [
                "LADDER examples: 41.9% to 86.7% correct.",
                "PGD at 8/255, white-box: 71.1% to 80.3% correct.",
            ],
            "worse": ["Clean images: 98.1% to 97.5% correct."],
            "limits": ["360 test images: differences below about 3 points may be chance."],
        },
        "clean_before": accuracy(353),
        "clean_after": accuracy(351),
        "attacks": [
            attack("fgsm", "white_box", 275, 306, epsilon=epsilon),
            attack("pgd", "white_box", 256, 289, epsilon=epsilon, steps=40, restarts=1),
            attack("ladder", "transfer", 151, 312, rho=1.2, targets="random"),
            attack("fgsm", "transfer", 275, 331, epsilon=epsilon),
            attack("pgd", "transfer", 256, 335, epsilon=epsilon, steps=40, restarts=1),
        ],
        "model": {
            "sha256": "0f" * 32,
            "classes": 10,
            "latent_dimension": 64,
            "parameter_count": 38_282,
            "head": "Linear(64, 10), the last weighted layer",
            "output": "logits",
            "caveats": ["The file was traced in evaluation mode, so dropout is not restored."],
        },
        "dataset": {
            "sha256": "a5" * 32,
            "image_shape": (1, 8, 8),
            "train_samples": 1437,
            "test_samples": 360,
            "class_names": DIGITS,
            "train_per_class": (142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
            "test_per_class": (36, 36, 35, 37, 36, 37, 36, 36, 35, 36),
            "notes": ["No test part was given: a stratified fifth was held out."],
        },
        "boundary": {
            "pairs": 45,
            "held_out_accuracy_mean": 0.994,
            "held_out_accuracy_min": 0.951,
            "linear_svc": {"pairs": 45, "held_out_accuracy_mean": 0.991, "cosine_mean": 0.71},
        },
        "latent_map": {
            "first": [float(3 * (i % 5) + i % 7) for i in range(60)],
            "second": [float((i * 7) % 11) for i in range(60)],
            "labels": [i % 5 for i in range(60)],
            "explained_variance": (0.41, 0.22),
        },
        "generator": {
            "architecture": "mlp 64-256-512-64, batch norm",
            "parameter_count": 183_104,
            "steps": 1_500,
            "train_mse": 0.00412,
            "test_mse": 0.00561,
            "reconstruction_accuracy": accuracy(349),
        },
        "examples": {
            "rho": 1.2,
            "considered": 360,
            "skipped_misclassified": 7,
            "skipped_no_crossing": 2,
            "latents_at_target": 0.6121,
            "images_fooling": 0.5583,
        },
        "losses": [
            {"clean": clean, "adversarial": adversarial}
            for clean, adversarial in ((0.241, 1.312), (0.163, 0.845), (0.112, 0.602), (0.094, 0.51))
        ],
        "gallery": gallery(),
        "stage_seconds": {
            "validate": 1.2,
            "latents": 0.4,
            "boundary": 6.1,
            "generator": 14.8,
            "examples": 2.2,
            "retrain": 31.7,
            "evaluate": 8.9,
            "report": 0.9,
        },
        "device": "cpu, 2 threads",
        "versions": {"ladder": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
    }


def minimal_report() -> dict[str, Any]:
    """What input-space adversarial training gives: no generator, no boundary, no examples."""
    kept = ("created_at", "clean_before", "clean_after", "model", "dataset", "device", "versions")
    whole = full_report()
    return {name: whole[name] for name in kept} | {
        "config": resolve_config({"method": "pgd"}).model_dump(),
        "verdict": {
            "recommendation": "do_not_deploy",
            "headline": "Not better, and worse on clean images.",
        },
        "attacks": [],
        "stage_seconds": {"validate": 1.0},
    }


@pytest.fixture(scope="session")
def full() -> Report:
    return Report.model_validate(full_report())


@pytest.fixture(scope="session")
def minimal() -> Report:
    return Report.model_validate(minimal_report())
