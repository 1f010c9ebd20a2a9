"""The uploads, the latents and the training: what the measurements are about."""

from typing import Annotated, Literal

from pydantic import Field

from ladder_schema.report.numbers import MAX_CLASSES, Accuracy, Count, Rate, Text, Texts, Value


class ModelCard(Value):
    """The uploaded model, as far as its file tells."""

    sha256: Text
    classes: Count
    latent_dimension: Count
    parameter_count: Count
    head: Text
    output: Text
    caveats: Texts = ()


class DatasetCard(Value):
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


class BoundarySummary(Value):
    """The attention SVMs (paper 3.1.1)."""

    pairs: Count
    held_out_accuracy_mean: Rate | None = Field(
        description="Balanced between a pair's classes; null where nothing could be held out."
    )
    held_out_accuracy_min: Rate | None
    linear_svc: "LinearSvcSummary | None" = None


class LinearSvcSummary(Value):
    """scikit-learn's LinearSVC, without attention, on the same latents: something to compare with."""

    pairs: Count = Field(description="Pairs compared, the first ones.")
    held_out_accuracy_mean: Rate
    cosine_mean: float = Field(ge=-1.0, le=1.0, description="Between its normal and the attention SVM's.")


class GeneratorSummary(Value):
    """The generator (paper 3.1.3, Eq. 4)."""

    architecture: Text
    parameter_count: Count
    steps: Count
    train_mse: float = Field(ge=0.0, description="As test_mse, on as many training images.")
    test_mse: float = Field(ge=0.0, description="Per pixel of [0, 1].")
    reconstruction_accuracy: Accuracy = Field(description="Original model on reconstructed test images.")


class ExampleSummary(Value):
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


TermName = Literal["clean", "adversarial", "divergence", "ladder", "latent"]


class EpochLosses(Value):
    """Mean of each term of one retraining epoch's loss, unweighted, in nats.

    ``clean``, ``adversarial`` and ``ladder`` are cross-entropies on clean images, on an attack's and on
    LADDER's examples; ``latent`` is that of moved latents; ``divergence`` is TRADES' KL(p(x) || p(x')).
    """

    terms: Annotated[dict[TermName, float], Field(min_length=1)]
