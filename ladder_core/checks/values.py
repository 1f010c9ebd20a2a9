"""What the checks judge: values measured by the probes, free of tensors and models."""

from dataclasses import dataclass
from typing import Literal

from ladder_core.checks.statistics import Contest

Output = Literal["logits", "probabilities", "log_probabilities"]


@dataclass(frozen=True)
class Gradients:
    """Gradients by the image, of unattacked images that a model is right about.

    Attributes:
        images: How many.
        zero_loss: Images at which the cross-entropy's gradient is exactly zero everywhere, in float32.
        zero_margin: The same of the label's logit minus the largest other, which no softmax flattens.
        non_finite: Images at which a gradient or a logit is not a finite number.
        median_margin: Median of the logits' margin.
        output: What the model's output is, going by its values.
    """

    images: int
    zero_loss: int
    zero_margin: int
    non_finite: int
    median_margin: float
    output: Output


@dataclass(frozen=True)
class Repeats:
    """One batch asked twice, and in other company.

    A difference is the largest over the images, of logits scaled to length 1.

    Attributes:
        images: How many.
        repeated: Difference between two runs of the same batch.
        repeated_changed: Images whose prediction changed between them.
        regrouped: Difference between a run of the batch and one with its second half replaced.
        regrouped_changed: Images of the first half whose prediction changed between those.
    """

    images: int
    repeated: float
    repeated_changed: int
    regrouped: float
    regrouped_changed: int


@dataclass(frozen=True)
class LossCurve:
    """The loss along one run of PGD.

    Attributes:
        images: How many.
        steps: Steps taken so far at each point, from 0, the random start.
        losses: Mean cross-entropy at each point.
        rose: Images whose loss is higher than at the point before, at each point but the first.
        fell: Images whose loss is lower.
        ended_higher: Images whose loss is higher at the last point than at the first.
    """

    images: int
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    rose: tuple[int, ...]
    fell: tuple[int, ...]
    ended_higher: int


@dataclass(frozen=True)
class Unbounded:
    """An attack that may change an image into any other.

    Attributes:
        images: Attacked, the model being right about them.
        held: That the attack did not break.
        chance: Share that is right by chance: of the most frequent class.
    """

    images: int
    held: int
    chance: float


@dataclass(frozen=True)
class Probes:
    """What was asked of one model; None where no image could be asked about."""

    repeats: Repeats
    gradients: Gradients | None
    losses: LossCurve | None
    unbounded: Unbounded | None
    one_step: Contest | None
    transfer: Contest | None
    square: Contest | None


@dataclass(frozen=True)
class Duplicates:
    """Test images that are also training images.

    Attributes:
        tested: Test images looked up.
        searched: Training images they were looked up in.
        exact: Test images of which a training image has the same bytes, at 8 bits a pixel.
        compared: Test images that were compared for near duplicates.
        near: Of them, those of which a training image is nearly the same, the same ones not counted.
        given: Whether the upload said which images are for testing.
    """

    tested: int
    searched: int
    exact: int
    compared: int
    near: int
    given: bool


@dataclass(frozen=True)
class Contradictions:
    """Labels that both models confidently contradict, with the same other class.

    Attributes:
        train: Training labels looked at.
        train_contradicted: Contradicted ones.
        test: Test labels looked at.
        test_contradicted: Contradicted ones.
    """

    train: int
    train_contradicted: int
    test: int
    test_contradicted: int
