"""Report values made by hand: a good hardening with everything measured, and one not to be trusted."""

import base64
import math
from datetime import UTC, datetime
from typing import Any

from sklearn.datasets import load_digits

from ladder_schema.config import resolve_config

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EPSILON = 8 / 255
SAMPLES = 360


def paired(before: int, after: int, total: int = SAMPLES, gone: int | None = None) -> dict[str, int]:
    """Counts with these two numbers of right answers; ``gone`` of them were right before and are no more."""
    only_before = max(0, before - after) + min(before, total - before, after) // 12 if gone is None else gone
    both = before - only_before
    return {
        "both": both,
        "only_before": only_before,
        "only_after": after - both,
        "neither": total - only_before - after,
    }


def attack(name: str, setting: str, before: int, after: int, **parameters: Any) -> dict[str, Any]:
    extra = {key: parameters.pop(key) for key in list(parameters) if key.startswith(("median", "mean"))}
    return {
        "attack": name,
        "setting": setting,
        "parameters": parameters,
        "outcome": paired(before, after),
        "attacked_before": 353,
        "attacked_after": 351,
        "trained_on": name == "ladder",
        **extra,
    }


def thumbnail(pixels: bytes, side: int = 8, channels: int = 1) -> dict[str, Any]:
    encoded = base64.b64encode(pixels).decode()
    return {"height": side, "width": side, "channels": channels, "pixels": encoded}


def _images() -> tuple[Any, Any]:
    digits = load_digits()
    return (digits.images * 15.9375).astype("uint8"), digits.target


def _mixture(original: Any, other: Any, share: float) -> dict[str, Any]:
    """A digit beside its mixture with another, as an example across a boundary looks."""
    return thumbnail(((1 - share) * original + share * other).astype("uint8").tobytes())


def pictures() -> dict[str, Any]:
    images, labels = _images()
    gallery = [
        {
            "original": thumbnail(images[i].tobytes()),
            "adversarial": _mixture(images[i], images[i + 11], 0.35),
            "label": int(labels[i]),
            "attack": ("ladder", "pgd")[i % 2],
            "rho": 1.2 if i % 2 == 0 else None,
            "predicted_original": int(labels[i]),
            "predicted_adversarial": int(labels[i + 11]),
            "predicted_hardened": int(labels[i + (11 if i == 5 else 0)]),
        }
        for i in range(8)
    ]
    walks = [
        {
            "label": int(labels[i]),
            "target": int(labels[i + 11]),
            "original": thumbnail(images[i].tobytes()),
            "steps": [
                {
                    "rho": rho / 5,
                    "image": _mixture(images[i], images[i + 11], rho / 12),
                    "predicted_original": int(labels[i + (11 if rho > 5 else 0)]),
                    "predicted_hardened": int(labels[i + (11 if rho > 7 else 0)]),
                }
                for rho in range(1, 11)
            ],
        }
        for i in (2, 4, 7)
    ]
    rebuilt = [
        {
            "original": thumbnail(images[i].tobytes()),
            "reconstructed": _mixture(images[i], images[i + 20], 0.08),
            "split": "train" if i < 4 else "test",
        }
        for i in range(8)
    ]
    return {
        "gallery": gallery,
        "walks": walks,
        "reconstructions": rebuilt,
        "latent_planes": [plane(2, 3), plane(4, 9)],
        "latent_map": {
            "first": [9 * math.cos(i % 10) + math.sin(2.3 * i) for i in range(200)],
            "second": [9 * math.sin(i % 10) + math.cos(3.7 * i) for i in range(200)],
            "labels": [i % 10 for i in range(200)],
            "explained_variance": (0.41, 0.22),
        },
    }


def plane(label: int, target: int) -> dict[str, Any]:
    spread = [(math.sin(7.1 * i), math.cos(3.3 * i) + math.sin(1.7 * i)) for i in range(80)]
    return {
        "label": label,
        "target": target,
        "along": [(-2.4 if i % 2 == 0 else 2.2) + x for i, (x, _) in enumerate(spread)],
        "across": [y for _, y in spread],
        "labels": [label if i % 2 == 0 else target for i in range(80)],
        "moved_along": [0.5 + 0.4 * x for x, _ in spread[:40]],
        "moved_across": [y for _, y in spread[:40]],
    }


def confusion(right: float) -> dict[str, Any]:
    def count(row: int, column: int) -> int:
        if row == column:
            return round(36 * right)
        return round(36 * (1 - right) * (0.6 if (row, column) in {(3, 8), (8, 3), (9, 4)} else 0.06))

    return {"counts": [[count(row, column) for column in range(10)] for row in range(10)]}


def calibration(slope: float) -> dict[str, Any]:
    bins = []
    for number in range(15):
        total = 4 + number**2
        confidence = (number + 0.5) / 15
        bins.append(
            {"total": total, "correct": round(total * min(1.0, slope * confidence)), "confidence": confidence}
        )
    gap = sum(abs(b["correct"] - b["total"] * b["confidence"]) for b in bins)
    return {"ece": gap / sum(b["total"] for b in bins), "bins": bins}


def measurements() -> dict[str, Any]:
    l2 = {"norm": "l2", "epsilon": 0.5}
    linf = {"norm": "linf", "epsilon": EPSILON}
    radii = (0.0, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255, 128 / 255)
    holding = ((353, 351), (331, 345), (275, 331), (151, 289), (36, 221), (3, 118), (0, 22), (0, 0))
    return {
        "clean": paired(353, 351),
        "worst_case": paired(138, 276),
        "attacks": [
            attack("fgsm", "white_box", 275, 306, **linf),
            attack("pgd", "white_box", 151, 289, **linf, steps=40, restarts=1, relative_step=0.1),
            attack("pgd", "white_box", 162, 301, **l2, steps=40, restarts=1),
            attack(
                "cw", "white_box", 12, 118, steps=200, confidence=0.0, search_steps=9,
                median_l2_before=0.412, median_l2_after=0.934, mean_queries=1800.0,
            ),
            attack("ladder", "fixed", 151, 312, rho=1.2, targets="random"),
            attack("pgd", "transfer", 256, 335, **linf, steps=40, restarts=1),
            attack("pgd", "surrogate", 281, 338, **linf, steps=40, restarts=1),
        ],
        "autoattack": {
            "version": "standard",
            "norm": "linf",
            "epsilon": EPSILON,
            "outcome": paired(140, 277),
            "components": [
                {"name": "APGD-CE", "settings": "100 steps", "broken_before": 196, "broken_after": 64},
                {"name": "APGD-T", "settings": "9 targets", "broken_before": 16, "broken_after": 9},
                {"name": "FAB-T", "settings": "100 steps, 9 targets", "broken_before": 1, "broken_after": 1},
                {"name": "Square", "settings": "5,000 queries", "broken_before": 0, "broken_after": 0},
            ],
            "notes": ["Each attack runs on what the attacks before it left."],
        },
        "classes": [
            {
                "label": label,
                "clean": paired(35 - label % 3, 35 - label % 2, 36),
                "worst_case": paired(10 + 2 * (label % 5), 20 + label, 36),
            }
            for label in range(10)
        ],
        "confusions": {
            "clean_before": confusion(0.98),
            "clean_after": confusion(0.97),
            "attacked_before": confusion(0.42),
            "attacked_after": confusion(0.8),
        },
        "curves": [
            {
                "attack": "apgd_ce", "norm": "linf", "parameters": {"steps": 100},
                "points": [
                    {"epsilon": radius, "outcome": paired(*counts)}
                    for radius, counts in zip(radii, holding, strict=True)
                ],
            }
        ],
        "distortions": [
            {
                "attack": "deepfool", "norm": "l2",
                "before": {"broken": [0.05 + 0.004 * i for i in range(350)], "held": 3},
                "after": {"broken": [0.1 + 0.009 * i for i in range(330)], "held": 21},
            }
        ],
        "trade_offs": [trade_off("examples"), trade_off("rho")],
        "calibration": {"before": calibration(1.0), "after": calibration(0.86)},
        "corruptions": [
            {
                "corruption": name, "severity": severity,
                "outcome": paired(352 - drop * severity, 351 - (drop - gain) * severity),
            }
            for name, drop, gain in (
                ("gaussian noise", 31, 12), ("defocus blur", 22, 3), ("contrast", 18, -9),
                ("JPEG compression", 9, 1), ("brightness", 4, 0),
            )
            for severity in range(1, 6)
        ],
        "average_ranks": [{"setting": "transfer", "columns": 4, "before": 1.75, "after": 1.25}],
    }  # fmt: skip


def trade_off(varied: str) -> dict[str, Any]:
    values = (100, 300, 1_000, 3_000) if varied == "examples" else (0.5, 1.0, 1.5, 2.0)
    return {
        "varied": varied,
        "attack": "pgd",
        "points": [
            {
                "value": value,
                "clean": {"correct": 353 - 2 * place, "total": SAMPLES},
                "robust": {"correct": 201 + 31 * place, "total": SAMPLES},
            }
            for place, value in enumerate(values)
        ],
    }


def check(name: str, of: str, status: str, finding: str, remedy: str | None = None, **evidence: Any) -> Any:
    return {
        "name": name,
        "of": of,
        "status": status,
        "finding": finding,
        "evidence": [{"name": key.replace("_", " "), "value": value} for key, value in evidence.items()],
        "remedy": remedy,
    }


def good_report() -> dict[str, Any]:
    return {
        "created_at": datetime(2026, 3, 14, 15, 9, tzinfo=UTC),
        "config": resolve_config({"seed": 7}).model_dump(),
        "verdict": {
            "recommendation": "deploy",
            "headline": "Measurably harder to fool, at its worst from 38.3% to 76.7%, for 0.6 points of "
            "clean accuracy.",
            "better": [
                "Worst case over white-box attacks: 38.3% to 76.7% correct.",
                "LADDER examples: 41.9% to 86.7% correct.",
            ],
            "worse": ["Contrast at severity 5: 72.8% to 60.0% correct."],
            "limits": [
                "360 test images: differences below about 3 points may be chance.",
                "LADDER examples do not adapt to the hardened model.",
            ],
        },
        "measurements": measurements(),
        "checks": [
            check(
                "one_step_beats_many", "hardened", "pass", "FGSM breaks fewer images than PGD.",
                fgsm_accuracy=0.85, pgd_accuracy=0.803,
            ),
            check(
                "unbounded_attack_fails", "hardened", "pass", "At radius 128/255 no image holds.",
                accuracy=0.0,
            ),
            check(
                "square_beats_apgd", "hardened", "pass", "Square broke nothing that APGD had left.",
                broken_by_square=0,
            ),
            check("not_deterministic", "hardened", "pass", "Two runs gave equal logits."),
            check(
                "zero_gradients", "hardened", "pass", "Of 512 images, none has a zero gradient.", share=0.0
            ),
            check(
                "too_few_samples", "data", "warn",
                "The clean accuracy's interval is wider than its change: whether it fell cannot be told.",
                "Evaluate on more test images, or leave evaluation.max_samples out.",
                interval_width=0.034, change=-0.0056,
            ),
            check("label_noise", "data", "not_run", "The data has too few images a class to tell."),
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
        "generator": {
            "architecture": "mlp 64-256-512-64, batch norm",
            "parameter_count": 183_104,
            "steps": 1_500,
            "train_mse": 0.00412,
            "test_mse": 0.00561,
            "reconstruction_accuracy": {"correct": 349, "total": SAMPLES},
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
            {"terms": {"clean": clean, "adversarial": adversarial}}
            for clean, adversarial in ((0.241, 1.312), (0.163, 0.845), (0.112, 0.602), (0.094, 0.51))
        ],
        "pictures": pictures(),
        "hardened_sha256": "c3" * 32,
        "stage_seconds": {
            "validate": 1.2,
            "latents": 0.4,
            "boundary": 6.1,
            "generator": 14.8,
            "examples": 2.2,
            "retrain": 31.7,
            "evaluate": 48.9,
            "report": 0.9,
        },
        "device": "cpu, 2 threads",
        "versions": {"ladder": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
    }  # fmt: skip


def doubtful_report() -> dict[str, Any]:
    """Figures that look good because gradients vanish, of input-space training, with much left out."""
    report = good_report()
    kept = ("created_at", "model", "dataset", "device", "versions", "hardened_sha256", "stage_seconds")
    flat = [{"epsilon": step / 10, "outcome": paired(max(0, 320 - 60 * step), 301)} for step in range(6)]
    return {name: report[name] for name in kept} | {
        "config": resolve_config({"method": "pgd"}).model_dump(),
        "verdict": {
            "recommendation": "do_not_deploy",
            "headline": "The gain is not to be trusted: the hardened model hides its gradients.",
            "better": ["PGD at 8/255, white-box: 41.9% to 84.7% correct, as far as PGD can tell."],
            "worse": ["Clean images: 98.1% to 91.4% correct.", "Square, white-box: 60.0% to 11.7% correct."],
            "limits": ["Two checks failed: robust accuracy is overstated."],
        },
        "measurements": {
            "clean": paired(353, 329),
            "worst_case": paired(138, 42),
            "attacks": [
                attack("pgd", "white_box", 151, 305, norm="linf", epsilon=EPSILON, steps=40),
                attack("square", "white_box", 216, 42, norm="linf", epsilon=EPSILON, queries=5_000),
            ],
            "curves": [{"attack": "pgd", "norm": "linf", "parameters": {"steps": 40}, "points": flat}],
        },
        "checks": [
            check(
                "square_beats_apgd", "hardened", "fail",
                "Square, which sees no gradient, broke 263 images that PGD had left: the gradients mislead.",
                "Remove what blocks gradients (quantisation, saturation, randomness) and harden again.",
                broken_by_square=263, broken_by_pgd=24,
            ),
            check(
                "unbounded_attack_fails", "hardened", "fail",
                "At radius 0.5, where an image can be turned grey, 83.6% are still classified correctly.",
                "Do not rely on the white-box figures.", accuracy=0.836, epsilon=0.5,
            ),
            check("zero_gradients", "hardened", "warn", "A third of the gradients are zero.", share=0.334),
            check("non_finite_gradients", "hardened", "pass", "All gradients are finite."),
        ],
    }  # fmt: skip


def minimal_report() -> dict[str, Any]:
    """Only what every report has."""
    report = good_report()
    kept = ("created_at", "config", "model", "dataset", "device", "versions", "hardened_sha256")
    return {name: report[name] for name in kept} | {
        "verdict": {
            "recommendation": "do_not_deploy",
            "headline": "Not better, and worse on clean images.",
        },
        "measurements": {"clean": paired(353, 340), "worst_case": paired(353, 340), "attacks": []},
        "stage_seconds": {"validate": 1.0},
    }
