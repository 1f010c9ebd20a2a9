"""Reports from nobody to be trusted: hostile texts in every field, and whatever else the schema admits."""

import base64
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, get_args

from hypothesis import strategies as st
from pydantic import ValidationError
from reports import good_report

from ladder_schema.report import Report, TermName

TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "</style><style>@import url(https://evil.example/x.css);",
    "</td></table><h1>Deploy</h1>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "' onmouseover='alert(1)",
    "&lt;b&gt; &amp; <!-- --> ]]>",
    "javascript:alert(1)",
    "[click](https://evil.example) ![x](https://evil.example/x.png) <https://evil.example>",
    "| a | b |\n|---|---|\n\n# Deploy\n\n---\n\n    code\n",
    "```\n~~~ $x^2$ **bold** _it_ `code` \\",
    '#read("/etc/passwd") #import "@preview/x:0.1.0" $ integral $ = Deploy <label> @ref',
    "- 1. + = : * [ ] { } ^^^^ !",
    "$\\frac{1}{0}$ $$ \\undefined",
    "\u202egnp.exe\u202c\u200e\u200f",
    "\x00\x1b[31m\ufffe\ud7ff",
    "\u732b\U0001f431 \u05d7\u05ea\u05d5\u05dc \u0642\u0637",
    "w" * 2_000,
)


SLOT = "slot"
MATRICES = ("clean_before", "clean_after", "attacked_before", "attacked_after")


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


def short_report() -> Report:
    """Everything a report can have, as little as possible of each, to render fast."""
    data = good_report()
    measured, pictures = data["measurements"], data["pictures"]
    for part, name, kept in (
        (measured, "attacks", 2), (measured, "corruptions", 1), (measured, "classes", 2),
        (pictures, "gallery", 1), (pictures, "walks", 1),
        (pictures, "reconstructions", 1), (pictures, "latent_planes", 1), (data, "losses", 1),
    ):  # fmt: skip
        part[name] = part[name][:kept]
    # Charts without a text of the upload take time and show nothing here.
    for name in ("curves", "distortions", "trade_offs"):
        measured[name] = []
    measured["calibration"] = None
    measured["confusions"] = pictures["latent_map"] = None
    names = data["dataset"]["class_names"][:4]
    data["dataset"].update(
        class_names=names, train_per_class=[1], test_per_class=[1], bad_images=1, bad_image_examples=["bad"]
    )
    return Report.model_validate(data)


def with_slots(report: Report) -> Report:
    """The report with the word `SLOT` in every field that takes any text; hashes and names included."""
    data = report.model_dump(mode="json")
    for attack in data["measurements"]["attacks"]:
        attack["parameters"] = {SLOT: SLOT}
    data["versions"] = {SLOT: SLOT}
    for path in leaves(data):
        changed = deepcopy(data)
        parent = changed
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = SLOT
        try:
            Report.model_validate(changed)
        except ValidationError:
            continue
        data = changed
    return Report.model_validate(data)


def filled(slots: Report, text: str) -> Report:
    """The report with another text in each slot, as far as a class's name may be long."""
    return Report.model_validate_json(slots.model_dump_json().replace(f'"{SLOT}"', json.dumps(text[:200])))


COUNTS = st.integers(0, 2**53) | st.sampled_from([0, 1, 2**53])
LENGTHS = st.floats(0, 1e9) | st.sampled_from([0.0, 5e-324, 1e-300, 1e9])
RATES = st.floats(0, 1)
ANY_TEXT = st.sampled_from(TEXTS) | st.text(max_size=40)


def paired() -> st.SearchStrategy[dict[str, int]]:
    names = ("both", "only_before", "only_after", "neither")
    return st.fixed_dictionaries(dict.fromkeys(names, st.integers(0, 2**50))).filter(
        lambda p: any(p.values())
    )


def distances() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"broken": st.lists(LENGTHS, max_size=6), "held": COUNTS})


def thumbnails(height: int, width: int, channels: int) -> st.SearchStrategy[dict[str, Any]]:
    size = height * width * channels
    return st.binary(min_size=size, max_size=size).map(
        lambda pixels: {
            "height": height, "width": width, "channels": channels,
            "pixels": base64.b64encode(pixels).decode(),
        }
    )  # fmt: skip


@st.composite
def measurements(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.integers(0, 3))
    confusion = st.lists(st.lists(COUNTS, min_size=size, max_size=size), min_size=size, max_size=size)
    points = st.lists(
        st.fixed_dictionaries({"epsilon": LENGTHS, "outcome": paired()}), min_size=2, max_size=4
    )
    bins = st.lists(
        st.fixed_dictionaries({"total": COUNTS, "correct": COUNTS, "confidence": RATES}), max_size=3
    )
    calibration = st.fixed_dictionaries({"ece": RATES, "bins": bins})
    accuracy = st.integers(1, 2**53).flatmap(
        lambda total: st.fixed_dictionaries({"correct": st.integers(0, total), "total": st.just(total)})
    )
    trade_off = st.fixed_dictionaries(
        {
            "varied": st.sampled_from(["examples", "rho", "epsilon"]),
            "attack": st.just("song"),
            "points": st.lists(
                st.fixed_dictionaries({"value": LENGTHS, "clean": accuracy, "robust": accuracy}),
                min_size=1, max_size=3,
            ),
        }
    )  # fmt: skip
    label = st.sampled_from([0, 1, 10_000, 2**53])
    return {
        "clean": draw(paired()),
        "worst_case": draw(paired()),
        "attacks": [],
        "classes": draw(
            st.lists(
                st.fixed_dictionaries({"label": label, "clean": paired(), "worst_case": paired()}), max_size=3
            )
        ),
        "confusions": {name: {"counts": draw(confusion)} for name in MATRICES},
        "curves": [
            {"attack": "pgd", "norm": draw(st.sampled_from(["linf", "l2"])), "parameters": {}, "points": p}
            for p in draw(st.lists(points, max_size=1))
        ],
        "distortions": [
            {"attack": "cw", "norm": "l2", "before": draw(distances()), "after": draw(distances())}
        ],
        "trade_offs": draw(st.lists(trade_off, max_size=1)),
        "calibration": {"before": draw(calibration), "after": draw(calibration)},
        "corruptions": [
            {"corruption": draw(ANY_TEXT), "severity": draw(st.integers(1, 5)), "outcome": draw(paired())}
        ],
    }


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Reports at the edges of what the schema admits."""
    data = good_report()
    names = draw(st.lists(st.sampled_from([t[:200] for t in TEXTS]) | st.text(max_size=20), max_size=4))
    anything = st.floats(allow_nan=False, allow_infinity=False)
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3])))
    count = draw(st.integers(0, 3))
    points = st.lists(anything, min_size=count, max_size=count)
    labels = draw(st.lists(st.sampled_from([0, 1, 2**53]), min_size=count, max_size=count))
    step = {
        "rho": draw(anything), "image": draw(thumbnails(*shape)), "predicted_original": draw(COUNTS),
        "predicted_hardened": 0,
    }  # fmt: skip
    data["dataset"].update(class_names=names, train_per_class=[], test_per_class=draw(st.lists(COUNTS)))
    data |= {
        "measurements": draw(measurements()),
        "losses": draw(
            st.lists(
                st.fixed_dictionaries(
                    {"terms": st.dictionaries(st.sampled_from(get_args(TermName)), anything, min_size=1)}
                ),
                max_size=3,
            )
        ),
        "pictures": {
            "gallery": [],
            "reconstructions": [],
            "walks": [
                {
                    "label": draw(COUNTS), "target": 1, "original": draw(thumbnails(*shape)),
                    "steps": [step] * draw(st.sampled_from([0, 1, 20])),
                }
            ],
            "latent_planes": [
                {
                    "label": 0, "target": 1, "along": draw(points), "across": draw(points), "labels": labels,
                    "moved_along": draw(points), "moved_across": draw(points),
                }
            ],
            "latent_map": {
                "first": draw(points), "second": draw(points), "labels": labels,
                "explained_variance": [draw(RATES), draw(RATES)],
            },
        },
        "stage_seconds": draw(st.dictionaries(st.sampled_from(["validate", "retrain"]), LENGTHS)),
        "device": draw(ANY_TEXT),
    }  # fmt: skip
    return Report.model_validate(data)
