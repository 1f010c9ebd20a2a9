"""What was measured before and after hardening, on the same images."""

from typing import Annotated, Literal, Self

from pydantic import Field, computed_field, model_validator

from ladder_schema.report.numbers import (
    MAX_CLASSES,
    Accuracy,
    Count,
    Length,
    Paired,
    Rate,
    Text,
    Value,
)

AttackName = Literal[
    "fgsm", "pgd", "di_fgsm", "cw", "deepfool", "jsma", "apgd_ce", "apgd_dlr", "apgd_t", "fab_t", "square",
    "autoattack", "song", "ladder",
]  # fmt: skip
Setting = Literal["white_box", "transfer", "surrogate", "fixed"]
MAX_CONFUSION_CLASSES = 100
Parameters = Annotated[dict[Text, float | int | Text], Field(max_length=50)]


class AttackResult(Value):
    """One attack, before and after hardening, on the same images.

    ``white_box``: the examples are made against the model they are tested on. The paper's black-box settings
    replay one set of examples on both models: made against the original (``transfer``), or against an
    independently trained model of the same architecture (``surrogate``). ``fixed``: made by a procedure that
    attacks the original's latent space, and replayed on both.

    An image counts as right when the model is right about it before and after the attack.
    """

    attack: AttackName
    setting: Setting
    parameters: Parameters
    outcome: Paired
    attacked_before: Count = Field(description="Images the original is right about without an attack.")
    attacked_after: Count = Field(description="Images the hardened model is right about without an attack.")
    median_l2_before: Length | None = Field(
        None, description="Median over broken images, in pixels; of attacks that look for the least distance."
    )
    median_l2_after: Length | None = None
    mean_queries: Length | None = Field(None, description="Forward passes an image, both models together.")
    trained_on: bool = Field(False, description="The hardening trained on examples of this attack.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for attacked, robust in (
            (self.attacked_before, self.outcome.before),
            (self.attacked_after, self.outcome.after),
        ):
            if not robust.correct <= attacked <= robust.total:
                raise ValueError(f"{robust.correct} of {attacked} attacked images hold, of {robust.total}")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def broken_before(self) -> int:
        """Attacked images that the attack broke, original model."""
        return self.attacked_before - self.outcome.before.correct

    @computed_field  # type: ignore[prop-decorator]
    @property
    def broken_after(self) -> int:
        """Attacked images that the attack broke, hardened model."""
        return self.attacked_after - self.outcome.after.correct


class AutoAttackComponent(Value):
    """One attack of AutoAttack's ensemble, run on what its predecessors left."""

    name: Text
    settings: Text = Field(description="What ran, and what it stands in for where it is no standard one.")
    broken_before: Count
    broken_after: Count


class AutoAttackSummary(Value):
    """AutoAttack as RobustBench reports it (Croce and Hein 2020)."""

    version: Literal["standard", "plus", "rand"]
    norm: Literal["linf", "l2"]
    epsilon: Length
    outcome: Paired
    components: Annotated[tuple[AutoAttackComponent, ...], Field(max_length=10)]
    notes: Annotated[tuple[Text, ...], Field(max_length=20)] = ()


class ClassResult(Value):
    """One class, clean and at its worst over all white-box attacks."""

    label: Count
    clean: Paired
    worst_case: Paired


class Confusion(Value):
    """How often each class (row) is taken for each class (column)."""

    counts: Annotated[
        tuple[Annotated[tuple[Count, ...], Field(max_length=MAX_CONFUSION_CLASSES)], ...],
        Field(max_length=MAX_CONFUSION_CLASSES),
    ]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if any(len(row) != len(self.counts) for row in self.counts):
            raise ValueError("a confusion matrix has as many columns as rows")
        return self


class Confusions(Value):
    """Both models on clean images, and on the examples of the strongest gradient attack."""

    clean_before: Confusion
    clean_after: Confusion
    attacked_before: Confusion
    attacked_after: Confusion


class CurvePoint(Value):
    """Both models at one radius."""

    epsilon: Length
    outcome: Paired


class EpsilonCurve(Value):
    """Accuracy against the radius, one attack, from 0 to where a classifier can see nothing any more."""

    attack: AttackName
    norm: Literal["linf", "l2"]
    parameters: Parameters
    points: Annotated[tuple[CurvePoint, ...], Field(min_length=2, max_length=50)]


class Distances(Value):
    """The least distance at which each attacked image was broken, in order; images that held are counted."""

    broken: Annotated[tuple[Length, ...], Field(max_length=2_000)]
    held: Count


class MinimalDistortion(Value):
    """Distribution of the least perturbation found, on the same images."""

    attack: AttackName
    norm: Literal["linf", "l2"]
    before: Distances
    after: Distances


class TradeOffPoint(Value):
    """A model hardened with one setting."""

    value: Length
    clean: Accuracy
    robust: Accuracy


class TradeOff(Value):
    """Clean against robust accuracy as a setting of the hardening varies (paper Figs. 8 and 9)."""

    varied: Literal["examples", "rho", "epsilon"]
    attack: AttackName
    points: Annotated[tuple[TradeOffPoint, ...], Field(min_length=1, max_length=30)]


class ReliabilityBin(Value):
    """Samples whose confidence lies in one of equal bins."""

    total: Count
    correct: Count
    confidence: Rate = Field(description="Mean over the bin's samples; 0 of an empty bin.")


class Calibration(Value):
    """Whether a model's confidence can be believed: expected calibration error over 15 equal bins.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """

    ece: Rate
    bins: Annotated[tuple[ReliabilityBin, ...], Field(max_length=50)]


class Calibrations(Value):
    """Both models, on clean test images."""

    before: Calibration
    after: Calibration


class CorruptionResult(Value):
    """A common corruption at one severity (after Hendrycks and Dietterich 2019)."""

    corruption: Text
    severity: Annotated[int, Field(ge=1, le=5)]
    outcome: Paired


class AverageRank(Value):
    """The paper's average rank over clean accuracy and black-box attacks, of the two models (section 4)."""

    setting: Setting
    columns: Count
    before: Annotated[float, Field(ge=1.0, le=2.0)]
    after: Annotated[float, Field(ge=1.0, le=2.0)]


class Measurements(Value):
    """Everything that was measured of robustness; what was not asked for is absent."""

    clean: Paired = Field(description="On the whole test split.")
    attacks: Annotated[tuple[AttackResult, ...], Field(max_length=100)]
    worst_case: Paired = Field(description="Right under every white-box attack, image by image.")
    autoattack: AutoAttackSummary | None = None
    classes: Annotated[tuple[ClassResult, ...], Field(max_length=MAX_CLASSES)] = ()
    confusions: Confusions | None = None
    curves: Annotated[tuple[EpsilonCurve, ...], Field(max_length=10)] = ()
    distortions: Annotated[tuple[MinimalDistortion, ...], Field(max_length=10)] = ()
    trade_offs: Annotated[tuple[TradeOff, ...], Field(max_length=10)] = ()
    calibration: Calibrations | None = None
    corruptions: Annotated[tuple[CorruptionResult, ...], Field(max_length=200)] = ()
    average_ranks: Annotated[tuple[AverageRank, ...], Field(max_length=4)] = ()
