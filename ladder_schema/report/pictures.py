"""Pictures as raw pixels and points: drawn by a process that never held the model."""

from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, Field, model_validator

from ladder_schema.report.measurements import AttackName
from ladder_schema.report.numbers import Count, Rate, Value

MAX_THUMBNAIL_SIDE = 256
_MAX_POINTS = 1_000
Points = Annotated[tuple[float, ...], Field(max_length=_MAX_POINTS)]
Labels = Annotated[tuple[Count, ...], Field(max_length=_MAX_POINTS)]


class Thumbnail(Value):
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


class GalleryItem(Value):
    """An original image beside its adversarial one."""

    original: Thumbnail
    adversarial: Thumbnail
    label: Count
    attack: AttackName
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


class Reconstruction(Value):
    """An image beside what the generator makes of its latent (paper Fig. 4)."""

    original: Thumbnail
    reconstructed: Thumbnail
    split: Literal["train", "test"]


class WalkStep(Value):
    """An image generated at one relative step along a pair's boundary direction."""

    rho: float
    image: Thumbnail
    predicted_original: Count
    predicted_hardened: Count


class Walk(Value):
    """One image moved across its boundary in growing steps (paper Figs. 5, 7 and 10)."""

    label: Count
    target: Count
    original: Thumbnail
    steps: Annotated[tuple[WalkStep, ...], Field(max_length=20)]


class LatentPlane(Value):
    """Latents of two classes on the boundary's normal d and on the main direction within its complement."""

    label: Count
    target: Count
    along: Points = Field(description="Signed distance from the attention SVM's boundary, along d.")
    across: Points = Field(description="Along the first principal component of what d leaves.")
    labels: Labels
    moved_along: Points = Field((), description="The same of the moved latents of the first class.")
    moved_across: Points = ()

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if not len(self.along) == len(self.across) == len(self.labels):
            raise ValueError("along, across and labels differ in length")
        if len(self.moved_along) != len(self.moved_across):
            raise ValueError("moved_along and moved_across differ in length")
        return self


class LatentMap(Value):
    """Latents of some test images on their two principal components."""

    first: Points
    second: Points
    labels: Labels
    explained_variance: tuple[Rate, Rate] = Field(description="Share of the variance along each.")

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if not len(self.first) == len(self.second) == len(self.labels):
            raise ValueError("first, second and labels differ in length")
        return self
