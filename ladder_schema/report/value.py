"""The robustness report as a value: what was measured, on what, and what it means."""

from typing import Annotated, Literal

from pydantic import Field

from ladder_schema.config import JobConfig
from ladder_schema.jobs import Stage
from ladder_schema.report.cards import (
    BoundarySummary,
    DatasetCard,
    EpochLosses,
    ExampleSummary,
    GeneratorSummary,
    ModelCard,
)
from ladder_schema.report.checks import Check
from ladder_schema.report.measurements import Measurements
from ladder_schema.report.numbers import Text, Texts, Timestamp, Value
from ladder_schema.report.pictures import GalleryItem, LatentMap, LatentPlane, Reconstruction, Walk

REPORT_VERSION: Literal[2] = 2


class Verdict(Value):
    """What the numbers mean for somebody who has to decide."""

    recommendation: Literal["deploy", "deploy_with_care", "do_not_deploy"]
    headline: Text
    better: Texts = ()
    worse: Texts = ()
    limits: Texts = ()


class Pictures(Value):
    """What is looked at rather than read."""

    gallery: Annotated[tuple[GalleryItem, ...], Field(max_length=100)] = ()
    reconstructions: Annotated[tuple[Reconstruction, ...], Field(max_length=50)] = ()
    walks: Annotated[tuple[Walk, ...], Field(max_length=20)] = ()
    latent_planes: Annotated[tuple[LatentPlane, ...], Field(max_length=6)] = ()
    latent_map: LatentMap | None = None


class Report(Value):
    """Everything a hardening job measured."""

    report_version: Literal[2] = REPORT_VERSION
    created_at: Timestamp
    config: JobConfig
    verdict: Verdict
    measurements: Measurements
    checks: Annotated[tuple[Check, ...], Field(max_length=100)] = ()
    model: ModelCard
    dataset: DatasetCard
    boundary: BoundarySummary | None = None
    generator: GeneratorSummary | None = None
    examples: ExampleSummary | None = None
    losses: Annotated[tuple[EpochLosses, ...], Field(max_length=10_000)] = ()
    pictures: Pictures = Pictures()
    hardened_sha256: Text = Field(description="Of the hardened model's file.")
    stage_seconds: dict[Stage, Annotated[float, Field(ge=0.0, le=1e9)]]
    device: Text
    versions: Annotated[dict[Text, Text], Field(max_length=100)]
