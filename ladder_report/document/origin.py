"""Where the figures come from: model, data, and the run that made them."""

from ladder_report import wording
from ladder_report.document.blocks import (
    Block,
    Bullets,
    Cell,
    Column,
    Columns,
    Facts,
    Paragraph,
    Plain,
    Section,
    Table,
)
from ladder_report.document.cells import count_cell, left_out
from ladder_report.document.classes import name_of
from ladder_schema.report import DatasetCard, ModelCard, Report

_MAX_CLASSES = 200
_FOLDED_FROM = 13
_MAX_TEXTS = 20
_LONGEST = 1_000
_READING = (
    (
        "95% interval",
        (
            "Of a rate, Wilson's score interval; of a change, Newcombe's interval for paired rates. 19 times "
            "out of 20 it covers what all images like these would give."
        ),
    ),
    (
        "McNemar's test",
        (
            "Both models saw the same images, so only those on which they differ tell which is better. p is "
            "how likely so uneven a split is by chance alone; below 0.05 a change counts as measured."
        ),
    ),
    ("Worst case", "An image counts only if the model is right about it under every white-box attack."),
    (
        "Radius \N{GREEK SMALL LETTER EPSILON}",
        "How far a pixel (L\N{INFINITY}) or the whole image (L2) may be moved, in pixels of 0 to 1.",
    ),
    (
        "LADDER examples",
        (
            "An image's latent features are moved across the boundary to another class and decoded with the "
            "generator. They lie in no \N{GREEK SMALL LETTER EPSILON} ball; past "
            "\N{GREEK SMALL LETTER RHO} = 1 some may truly show the other class, so 100% is not the ideal."
        ),
    ),
    (
        "Relative step \N{GREEK SMALL LETTER RHO}",
        "How far a latent is moved: 1 puts it on the classifier's own boundary, more puts it beyond.",
    ),
)


def upload_section(report: Report) -> Section:
    """Model and data cards."""
    blocks: list[Block] = [Columns((_model(report.model), _dataset(report.dataset)))]
    if classes := _classes(report.dataset):
        blocks.append(classes)
    return Section("upload", "Model and data", "What was uploaded, as far as its files tell.", tuple(blocks))


def run_section(report: Report) -> Section:
    """Seed, versions, hashes, time by stage and the whole configuration."""
    total = wording.duration(sum(report.stage_seconds.values()))
    conditions = Facts(
        "Conditions",
        (
            ("Seed", str(report.config.seed)),
            ("Device", report.device),
            ("Hardened model, SHA-256", report.hardened_sha256),
            *((wording.short(n, 80), wording.short(v, 80)) for n, v in report.versions.items()),
        ),
    )
    stages = Table(
        f"Time by stage, {total} in all",
        (Column("Stage", is_number=False), Column("Time"), Column("Share")),
        tuple(
            (Cell(stage.value), Cell(wording.duration(seconds)), Cell(_share(seconds, report)))
            for stage, seconds in report.stage_seconds.items()
        ),
    )
    settings = Table(
        "Settings of the job",
        (Column("Setting", is_number=False), Column("Value", is_number=False)),
        tuple(
            (Cell(name), Cell(wording.short(value)))
            for name, value in wording.flatten(report.config.model_dump())
        ),
        folded="Configuration, every default filled in",
        css="narrow",
    )
    return Section(
        "run",
        "The run",
        "What it takes to repeat it: the uploads, this configuration, these versions.",
        (Columns(((conditions,), (stages,))), settings),
    )


def reading_section() -> Section:
    """What the words mean."""
    return Section("reading", "How to read this", "", (Facts("", _READING),))


def _model(model: ModelCard) -> tuple[Plain, ...]:
    facts = Facts(
        "Model",
        (
            ("SHA-256", model.sha256),
            ("Classes", wording.count(model.classes)),
            ("Parameters", wording.count(model.parameter_count)),
            ("Latent dimension", wording.count(model.latent_dimension)),
            ("Head", model.head),
            ("Output", model.output),
        ),
    )
    return (facts, *_texts(model.caveats))


def _dataset(dataset: DatasetCard) -> tuple[Plain, ...]:
    channels, height, width = dataset.image_shape
    rows = [
        ("SHA-256", dataset.sha256),
        ("Format", dataset.format),
        (
            "Images",
            f"{height} \N{MULTIPLICATION SIGN} {width} pixels, {channels} channel{'s' * (channels != 1)}",
        ),
        ("Training images", wording.count(dataset.train_samples)),
        ("Test images", wording.count(dataset.test_samples)),
    ]
    blocks: list[Plain] = [Facts("Dataset", tuple(rows)), *_texts(dataset.notes)]
    if dataset.bad_images:
        blocks.append(
            Paragraph(
                f"Images that could not be used and were left out: {wording.count(dataset.bad_images)}."
            )
        )
        blocks += _texts(dataset.bad_image_examples)
    return tuple(blocks)


def _texts(texts: tuple[str, ...]) -> tuple[Bullets, ...]:
    if not texts:
        return ()
    cut = left_out(_MAX_TEXTS, len(texts), "notes")
    return (
        Bullets("", (*(wording.short(t, _LONGEST) for t in texts[:_MAX_TEXTS]), *([cut] if cut else []))),
    )


def _classes(dataset: DatasetCard) -> Table | None:
    """Name and sample counts of each class, whichever of the three lists is longest."""
    total = max(map(len, (dataset.class_names, dataset.train_per_class, dataset.test_per_class)))
    if not total:
        return None
    shown = range(min(total, _MAX_CLASSES))
    train, test = (dict(enumerate(counts)) for counts in (dataset.train_per_class, dataset.test_per_class))
    rows = [
        (
            Cell(name_of(dataset.class_names, index)),
            count_cell(train.get(index, 0)),
            count_cell(test.get(index, 0)),
        )
        for index in shown
    ]
    return Table(
        "Number of images of each class",
        (Column("Class", is_number=False), Column("Training"), Column("Test")),
        tuple(rows),
        folded="Images by class" if total >= _FOLDED_FROM else None,
        cut=left_out(len(rows), total, "classes"),
        css="narrow",
    )


def _share(seconds: float, report: Report) -> str:
    total = sum(report.stage_seconds.values())
    return wording.percent(seconds / total) if total else ""
