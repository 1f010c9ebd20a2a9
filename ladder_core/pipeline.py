"""The stages of a hardening run, in order; their result is the report value of `ladder_schema`.

``validate -> latents -> boundary -> generator -> examples -> retrain -> evaluate -> report``; a method that
makes its examples in image space goes from ``validate`` straight to ``examples``. What a stage made is kept
for another attempt where the caller asks for it; ``validate`` is always done again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ladder_core import validation
from ladder_core.artifacts import save_examples, save_weights
from ladder_core.batching import batch_size_for
from ladder_core.checkpoints import Checkpoints, Keeper, fingerprint
from ladder_core.classifier import Classifier, load_classifier
from ladder_core.datasets import load_dataset
from ladder_core.datasets.images import Wanted
from ladder_core.evaluation.trade_off import check_trade_offs
from ladder_core.harm import check_model
from ladder_core.methods import harden_with_ladder, harden_with_pgd, ladder, pgd
from ladder_core.progress import Progress, ProgressCallback
from ladder_core.run import Outcome, Run
from ladder_core.seeding import numpy_stream
from ladder_core.verdict import judge
from ladder_schema.config import LadderConfig, PgdTrainingConfig, Preprocessing
from ladder_schema.jobs import Stage
from ladder_schema.protocol import ResultFile
from ladder_schema.report import DatasetCard, ModelCard, Report

_CHUNK_BYTES = 1 << 24
_REPORTED_PACKAGES = ("ladder-hardening", "torch", "numpy", "scikit-learn")


def run_pipeline(
    model_path: Path,
    dataset_path: Path,
    work_dir: Path,
    config: LadderConfig | PgdTrainingConfig,
    *,
    device: str,
    on_progress: ProgressCallback,
    checkpoints: Checkpoints | None = None,
) -> Report:
    """Harden a model and measure what that did.

    Args:
        model_path: The uploaded model; running it is running a stranger's code.
        dataset_path: The uploaded dataset.
        work_dir: Takes intermediate files and every `ResultFile`.
        config: The resolved configuration.
        device: Torch device.
        on_progress: Told where the run stands; its answer may ask to stop.
        checkpoints: Where to keep what another attempt can go on from, and what an earlier one kept; None to
            keep nothing. A run that goes on from another ends as it would have, bit for bit on a CPU.

    Returns:
        The report, also written to the work directory.

    Raises:
        HardeningError: The model, the dataset or the configuration cannot be used, or training failed.
        StopRequested: ``on_progress`` asked to stop.
    """
    is_ladder = isinstance(config, LadderConfig)
    progress = Progress(ladder.STAGE_WEIGHTS if is_ladder else pgd.STAGE_WEIGHTS, on_progress)
    progress.enter(Stage.VALIDATE)
    uploads = _Uploads.read(model_path, dataset_path, lambda: progress.update(0.0, "reading the uploads"))
    keeper = Keeper(checkpoints, fingerprint(config, uploads.model_sha256, uploads.dataset_sha256), progress)
    run = _validate(uploads, work_dir, config, torch.device(device), keeper, progress)
    if isinstance(config, LadderConfig):
        outcome = harden_with_ladder(run, config)
    else:
        outcome = harden_with_pgd(run, config)
    progress.enter(Stage.REPORT)
    outcome.hardened.save(work_dir / ResultFile.MODEL)
    save_weights(outcome.hardened, work_dir / ResultFile.WEIGHTS)
    save_examples(outcome.examples, work_dir / ResultFile.EXAMPLES)
    progress.finish()
    report = _report(run, config, outcome, uploads)
    (work_dir / ResultFile.REPORT).write_text(report.model_dump_json(), encoding="utf-8")
    return report


@dataclass(frozen=True)
class _Uploads:
    """The uploaded files and their digests."""

    model: Path
    dataset: Path
    model_sha256: str
    dataset_sha256: str

    @classmethod
    def read(cls, model: Path, dataset: Path, on_chunk: Callable[[], None]) -> "_Uploads":
        return cls(model, dataset, _sha256(model, on_chunk), _sha256(dataset, on_chunk))


def _validate(
    uploads: _Uploads,
    work_dir: Path,
    config: LadderConfig | PgdTrainingConfig,
    device: torch.device,
    keeper: Keeper,
    progress: Progress,
) -> Run:
    """Read both uploads and check that the model knows its own data."""
    check_model(uploads.model)
    original = load_classifier(uploads.model, device=device, preprocessing=config.preprocessing)
    progress.update(0.3, "model read")
    dataset = load_dataset(
        uploads.dataset,
        work_dir,
        seed=config.seed,
        asked=config.input,
        model=_taken_by(original, config.preprocessing),
        max_bad_images=config.max_bad_images,
    )
    validation.check_preprocessing(dataset, config.preprocessing)
    images, _ = dataset.test.batch(np.arange(min(4, len(dataset.test))), device)
    original.probe(images)
    if isinstance(config, LadderConfig):
        validation.check_head(original)
    validation.check_labels(dataset, original.num_classes)
    check_trade_offs(config.evaluation, len(dataset.train))
    progress.update(0.6, "dataset read")
    choice = dataset.test.stratified(validation.PROBE_SAMPLES, numpy_stream(config.seed, "probe"))
    validation.check_skill(original, choice, config.preprocessing, device)
    batch_size = config.evaluation.batch_size or batch_size_for(
        original, dataset.train.image_shape, device, backward=True
    )
    return Run(original, dataset, work_dir, device, config.seed, batch_size, progress, keeper)


def _taken_by(model: Classifier, preprocessing: Preprocessing) -> Wanted:
    """Return what is known of the images a model takes, before any was tried."""
    shape = model.describe().input_shape
    if shape is None or len(shape) != 3 or shape[0] not in (1, 3):
        return Wanted(preprocessing.resize)
    return Wanted(preprocessing.resize or (shape[1], shape[2]), 1 if shape[0] == 1 else 3)


def _report(
    run: Run,
    config: LadderConfig | PgdTrainingConfig,
    outcome: Outcome,
    uploads: _Uploads,
) -> Report:
    return Report(
        created_at=datetime.now(UTC),
        config=config,
        verdict=judge(outcome.measurements, outcome.checks),
        measurements=outcome.measurements,
        checks=outcome.checks,
        model=_model_card(run, uploads),
        dataset=_dataset_card(run, uploads),
        boundary=outcome.boundary,
        generator=outcome.generator,
        examples=outcome.ladder,
        losses=outcome.losses,
        pictures=outcome.pictures,
        hardened_sha256=_sha256(run.work_dir / ResultFile.MODEL, lambda: None),
        stage_seconds=run.progress.stage_seconds,
        device=_device_name(run.device),
        versions={name: version(name) for name in _REPORTED_PACKAGES},
    )


def _model_card(run: Run, uploads: _Uploads) -> ModelCard:
    description = run.original.describe()
    return ModelCard(
        sha256=uploads.model_sha256,
        classes=run.original.num_classes,
        latent_dimension=run.original.latent_dim,
        parameter_count=description.parameter_count,
        head=description.head,
        output=str(description.output_form),
        caveats=description.caveats,
    )


def _dataset_card(run: Run, uploads: _Uploads) -> DatasetCard:
    dataset, classes = run.dataset, run.original.num_classes
    names = dataset.class_names or tuple(str(label) for label in range(classes))
    return DatasetCard(
        sha256=uploads.dataset_sha256,
        format=dataset.format,
        image_shape=dataset.train.image_shape,
        train_samples=len(dataset.train),
        test_samples=len(dataset.test),
        class_names=names,
        train_per_class=_per_class(dataset.train.targets(), classes),
        test_per_class=_per_class(dataset.test.targets(), classes),
        bad_images=dataset.bad_images.count,
        bad_image_examples=dataset.bad_images.examples,
        notes=dataset.notes,
    )


def _per_class(labels: np.ndarray[tuple[int], np.dtype[np.int64]], classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _sha256(path: Path, on_chunk: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_chunk()
    return digest.hexdigest()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
