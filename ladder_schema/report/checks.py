"""Can the figures be trusted? What was looked for, and what was found."""

from typing import Annotated, Literal

from pydantic import Field

from ladder_schema.report.numbers import Text, Value

CheckName = Literal[
    "black_box_beats_white_box", "one_step_beats_many", "unbounded_attack_fails", "zero_gradients",
    "non_finite_gradients", "not_deterministic", "square_beats_apgd", "loss_not_monotone", "too_few_samples",
    "validation_in_training", "label_noise",
]  # fmt: skip
MASKING: frozenset[CheckName] = frozenset(
    {
        "black_box_beats_white_box", "one_step_beats_many", "unbounded_attack_fails", "zero_gradients",
        "non_finite_gradients", "not_deterministic", "square_beats_apgd", "loss_not_monotone",
    }
)  # fmt: skip
"""Checks whose failure means that attacks were misled: the model's robust accuracy is too high."""
Status = Literal["pass", "warn", "fail", "not_run"]


class Evidence(Value):
    """A number a check looked at."""

    name: Text
    value: float | int | Text


class Check(Value):
    """One check of one model, or of the data."""

    name: CheckName
    of: Literal["original", "hardened", "data"]
    status: Status
    finding: Text = Field(description="In plain words: what was found, and what it means.")
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=30)] = ()
    remedy: Text | None = Field(None, description="What to do about it; of a check that did not pass.")
