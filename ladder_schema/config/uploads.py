"""What the uploads are, and what an adversary may do to them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ladder_schema.config.section import Section


class ThreatModel(Section):
    """What the adversary may do to an image, shared by training and evaluation."""

    norm: Literal["linf", "l2"] = Field("linf", description="Norm that bounds the perturbation.")
    epsilon: float = Field(
        8 / 255,
        gt=0.0,
        le=1_000.0,
        description="Radius in pixels of [0, 1]; usual are 8/255 for photos and 0.3 for MNIST in `linf`, 0.5 "
        "for CIFAR-10 and 2 for MNIST in `l2`.",
    )

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.norm == "linf" and self.epsilon > 1.0:
            raise ValueError(f"epsilon is {self.epsilon}: pixels are in [0, 1], so give at most 1 in linf")
        if self.norm == "l2" and "epsilon" not in self.model_fields_set:
            raise ValueError("the default epsilon is one of linf: give epsilon with norm l2, such as 0.5")
        return self


class Preprocessing(Section):
    """What the model expects of its input; folded in front of it, so attacks work on pixels in [0, 1].

    Applied in this order: resize, value range, channel order, then ``(x - mean) / std``.
    """

    resize: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None, description="Height and width the model takes, when the dataset's differ."
    )
    value_range: tuple[float, float] = Field(
        (0.0, 1.0), description="What pixel 0.0 and pixel 1.0 become, e.g. [0, 255] or [-1, 1]."
    )
    channel_order: Literal["rgb", "bgr"] = Field("rgb", description="Order of the three channels.")
    mean: tuple[float, ...] | None = Field(
        None, description="Per channel (or one for all), after `value_range`."
    )
    std: tuple[Annotated[float, Field(gt=0.0)], ...] | None = Field(
        None, description="Per channel, or one for all."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.value_range
        if not low < high:
            raise ValueError(f"value_range is [{low}, {high}]: its first value must be below its second")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}: give one per channel in each"
            )
        return self


class InputConfig(Section):
    """How images that come as files are read; images that come as arrays are used as they are."""

    size: tuple[Annotated[int, Field(ge=1, le=4_096)], Annotated[int, Field(ge=1, le=4_096)]] | None = Field(
        None,
        description="Height and width images are resized to; by default what the model takes, where known.",
    )
    channels: Literal[1, 3] | None = Field(
        None,
        description="Grey (1) or RGB (3); by default what the model takes, where known, else as they are.",
    )
    label_column: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Parquet's column of labels, where there are several that may be."
    )
