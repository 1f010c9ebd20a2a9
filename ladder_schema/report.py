"""The robustness report as a value: what was measured, on what, and what it means.

JSON, HTML and every other face of the report show these numbers and no others.
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Base64Bytes, BaseModel, ConfigDict, Field, computed_field, model_validator

from ladder_schema.config import JobConfig
from ladder_schema.jobs import Stage

REPORT_VERSION: Literal[1] = 1
MAX_THUMBNAIL_SIDE = 256
MAX_CLASSES = 25_000
_Z_95 = 1.959963984540054

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # what every JSON reader and every float can hold exactly
Text = Annotated[str, Field(max_length=2_000)]
# Room for every time zone on both sides: a date a page cannot print is no date.
Timestamp = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC))
]
# The report comes from a process that is not trusted: what a reader has to scroll past is bounded.
Texts = Annotated[tuple[Text, ...], Field(max_length=100)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Accuracy(_Value):
    """Correct predictions out of a number of samples, with Wilson's 95% interval.

    The interval covers, 19 times out of 20, the accuracy on the population the samples were drawn from.
    """

    correct: Count
    total: Annotated[Count, Field(ge=1)]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.correct > self.total:
            raise ValueError(f"{self.correct} correct predictions out of {self.total}")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rate(self) -> float:
        """Share of correct predictions."""
        return self.correct / self.total

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95%."""
        n, p, z2 = self.total, self.correct / self.total, _Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def overlaps(self, other: "Accuracy") -> bool:
        """Whether the two 95% intervals touch, so that the difference may well be chance."""
        (low, high), (other_low, other_high) = self.interval, other.interval
        return low <= other_high and other_low <= high


class AttackResult(_Value):
    """One attack, before and after hardening, on the same images.

    ``white_box``: the examples are made against the model they are tested on. ``transfer``: they are made
    against the original model and replayed on both (the paper's black-box setting).
    """

    attack: Literal["fgsm", "pgd", "ladder"]
    setting: Literal["white_box", "transfer"]
    parameters: Annotated[dict[Text, float | int | Text], Field(max_length=50)]
    before: Accuracy
    after: Accuracy


class ModelCard(_Value):
    """The uploaded model, as far as its file tells."""

    sha256: Text
    classes: Count
    latent_dimension: Count
    parameter_count: Count
    head: Text
    output: Text
    caveats: Texts = ()


class DatasetCard(_Value):
    """The uploaded dataset."""

    sha256: Text
    format: Text = Field("npz", description="How the upload was laid out.")
    image_shape: tuple[Count, Count, Count] = Field(description="Channels, height, width.")
    train_samples: Count
    test_samples: Count
    class_names: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=MAX_CLASSES)]
    train_per_class: Annotated[tuple[Count, ...], Field(max_length=MAX_CLASSES)]
    test_per_class: Annotated[tuple[Count, ...], Field(max_length=MAX_CLASSES)]
    bad_images: Count = Field(0, description="Image files that could not be used and were left out.")
    bad_image_examples: Texts = Field((), description="The first of them, and what is wrong with each.")
    notes: Texts = ()


class BoundarySummary(_Value):
    """The attention SVMs (paper 3.1.1)."""

    pairs: Count
    held_out_accuracy_mean: Rate | None = Field(
        description="Balanced between a pair's classes; null where nothing could be held out."
    )
    held_out_accuracy_min: Rate | None
    linear_svc: "LinearSvcSummary | None" = None


class LinearSvcSummary(_Value):
    """scikit-learn's LinearSVC, without attention, on the same latents: something to compare with."""

    pairs: Count = Field(description="Pairs compared, the first ones.")
    held_out_accuracy_mean: Rate
    cosine_mean: float = Field(ge=-1.0, le=1.0, description="Between its normal and the attention SVM's.")


class LatentMap(_Value):
    """Latents of some test images on their two principal components."""

    first: Annotated[tuple[float, ...], Field(max_length=1_000)]
    second: Annotated[tuple[float, ...], Field(max_length=1_000)]
    labels: Annotated[tuple[Count, ...], Field(max_length=1_000)]
    explained_variance: tuple[Rate, Rate] = Field(description="Share of the variance along each.")

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if not len(self.first) == len(self.second) == len(self.labels):
            raise ValueError("first, second and labels differ in length")
        return self


class GeneratorSummary(_Value):
    """The generator (paper 3.1.3, Eq. 4)."""

    architecture: Text
    parameter_count: Count
    steps: Count
    train_mse: float = Field(ge=0.0, description="As test_mse, on as many training images.")
    test_mse: float = Field(ge=0.0, description="Per pixel of [0, 1].")
    reconstruction_accuracy: Accuracy = Field(description="Original model on reconstructed test images.")


class ExampleSummary(_Value):
    """LADDER's examples on test images, at the evaluation's relative step."""

    rho: float
    considered: Count
    skipped_misclassified: Count
    skipped_no_crossing: Count
    latents_at_target: Rate | None = Field(
        description="Moved latents that the original's head gives to the class they were moved towards."
    )
    images_fooling: Rate | None = Field(
        description="Generated images the original model classifies as another class."
    )


class EpochLosses(_Value):
    """Mean losses of one retraining epoch."""

    clean: float
    adversarial: float


class Thumbnail(_Value):
    """Raw pixels, so that nobody has to parse an image file made by an untrusted process."""

    height: Annotated[int, Field(ge=1, le=MAX_THUMBNAIL_SIDE)]
    width: Annotated[int, Field(ge=1, le=MAX_THUMBNAIL_SIDE)]
    channels: Literal[1, 3]
    pixels: Base64Bytes = Field(description="uint8, row by row, channels last.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        expected = self.height * self.width * self.channels
        if len(self.pixels) != expected:
            shape = f"{self.height} x {self.width} x {self.channels}"
            raise ValueError(f"{len(self.pixels)} pixel bytes, expected {expected} for {shape}")
        return self


class GalleryItem(_Value):
    """An original image beside its adversarial one."""

    original: Thumbnail
    adversarial: Thumbnail
    label: Count
    rho: float | None
    predicted_original: Count = Field(description="Original model on the original image.")
    predicted_adversarial: Count = Field(description="Original model on the adversarial image.")
    predicted_hardened: Count = Field(description="Hardened model on the adversarial image.")

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        shapes = [(image.height, image.width, image.channels) for image in (self.original, self.adversarial)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the original is {shapes[0]} and the adversarial image {shapes[1]}")
        return self


class Verdict(_Value):
    """What the numbers mean for somebody who has to decide."""

    recommendation: Literal["deploy", "deploy_with_care", "do_not_deploy"]
    headline: Text
    better: Texts = ()
    worse: Texts = ()
    limits: Texts = ()


class Report(_Value):
    """Everything a hardening job measured."""

    report_version: Literal[1] = REPORT_VERSION
    created_at: Timestamp
    config: JobConfig
    verdict: Verdict
    clean_before: Accuracy
    clean_after: Accuracy
    attacks: Annotated[tuple[AttackResult, ...], Field(max_length=100)]
    model: ModelCard
    dataset: DatasetCard
    boundary: BoundarySummary | None = None
    generator: GeneratorSummary | None = None
    examples: ExampleSummary | None = None
    latent_map: LatentMap | None = None
    losses: Annotated[tuple[EpochLosses, ...], Field(max_length=10_000)] = ()
    gallery: Annotated[tuple[GalleryItem, ...], Field(max_length=100)] = ()
    stage_seconds: dict[Stage, Annotated[float, Field(ge=0.0, le=1e9)]]
    device: Text
    versions: Annotated[dict[Text, Text], Field(max_length=100)]
