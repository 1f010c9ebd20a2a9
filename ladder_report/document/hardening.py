"""How the model was hardened: generator, examples, boundaries, latents, retraining."""

from ladder_report import wording
from ladder_report.charts.curves import losses_chart
from ladder_report.charts.latents import latent_chart, plane_chart
from ladder_report.charts.style import safe_label
from ladder_report.document.blocks import (
    Block,
    Cell,
    Column,
    Columns,
    Facts,
    Figure,
    Figures,
    Heading,
    Section,
    Table,
)
from ladder_report.document.cells import left_out
from ladder_report.document.classes import name_of
from ladder_report.document.pictures import reconstructions
from ladder_report.labels import METHODS, TERMS, class_label
from ladder_schema.report import (
    BoundarySummary,
    EpochLosses,
    ExampleSummary,
    GeneratorSummary,
    LatentPlane,
    Report,
)

_MAX_EPOCHS = 200
_FOLDED_FROM = 11


def hardening_section(report: Report) -> Section | None:
    """Everything the method left figures of; None where it left none."""
    blocks: list[Block] = []
    groups = [
        *([_generator(report.generator)] if report.generator else []),
        *([_examples(report.examples)] if report.examples else []),
        *([_boundary(report.boundary)] if report.boundary else []),
    ]
    if groups:
        blocks.append(Columns(tuple((facts,) for facts in groups)))
    if rebuilt := reconstructions(report.pictures):
        blocks += [Heading("What the generator makes of latents"), rebuilt]
    blocks += _latents(report)
    if report.losses:
        blocks += _retraining(report.losses)
    if not blocks:
        return None
    method = METHODS[report.config.method]
    return Section("hardening", "How it was hardened", f"{method}.", tuple(blocks))


def _generator(generator: GeneratorSummary) -> Facts:
    kept = generator.reconstruction_accuracy
    return Facts(
        "Generator fidelity",
        (
            (
                "Still recognised",
                (
                    f"{wording.percent(kept.rate)} of reconstructed test images are classified correctly by "
                    f"the original model ({wording.count(kept.correct)} of {wording.count(kept.total)}, "
                    f"{wording.interval(kept)})"
                ),
            ),
            ("Error on test images", f"{wording.number(generator.test_mse)} mean squared error a pixel"),
            ("On training images", wording.number(generator.train_mse)),
            ("Architecture", generator.architecture),
            ("Parameters", wording.count(generator.parameter_count)),
            ("Steps", wording.count(generator.steps)),
        ),
    )


def _examples(examples: ExampleSummary) -> Facts:
    rows = [
        ("Relative step \N{GREEK SMALL LETTER RHO}", wording.number(examples.rho)),
        ("Images considered", wording.count(examples.considered)),
    ]
    if examples.latents_at_target is not None:
        reached = f"{wording.percent(examples.latents_at_target)} of moved latents"
        rows.append(("Latents at the target", f"{reached} reach the class they were moved towards"))
    if examples.images_fooling is not None:
        fooling = f"{wording.percent(examples.images_fooling)} of generated images"
        rows.append(("Images that fool", f"{fooling} change the original model's answer"))
    rows.append(
        (
            "Left out",
            (
                f"{wording.count(examples.skipped_misclassified)} misclassified from the start, "
                f"{wording.count(examples.skipped_no_crossing)} with no boundary ahead"
            ),
        )
    )
    return Facts("LADDER examples on test images", tuple(rows))


def _boundary(boundary: BoundarySummary) -> Facts:
    rows = [("Class pairs", f"{wording.count(boundary.pairs)} attention SVMs")]
    if boundary.held_out_accuracy_mean is not None:
        hardest = boundary.held_out_accuracy_min
        also = "" if hardest is None else f", {wording.percent(hardest)} for the hardest pair"
        mean = wording.percent(boundary.held_out_accuracy_mean)
        rows.append(("Held-out accuracy", f"{mean} on average{also}"))
    if svc := boundary.linear_svc:
        rows.append(
            (
                "LinearSVC",
                (
                    f"{wording.percent(svc.held_out_accuracy_mean)} on average over "
                    f"{wording.count(svc.pairs)} pairs, without attention; its normals have a mean cosine of "
                    f"{wording.number(svc.cosine_mean)} with these"
                ),
            )
        )
    return Facts("Boundaries in latent space", tuple(rows))


def _latents(report: Report) -> list[Block]:
    names = report.dataset.class_names

    def label(index: int) -> str:
        return safe_label(wording.printable(class_label(names, index)), f"class {index}")

    blocks: list[Block] = []
    planes = [
        Figure(chart, *_plane_words(plane, names))
        for plane in report.pictures.latent_planes
        if (chart := plane_chart(plane, label))
    ]
    if planes:
        blocks += [Heading("Latent space around a boundary"), Figures(tuple(planes))]
    latents = report.pictures.latent_map
    if latents and (chart := latent_chart(latents, label)):
        share = wording.percent(min(1.0, sum(latents.explained_variance)))
        figure = Figure(
            chart,
            f"Scatter plot of {len(latents.first)} test images' latents on their first two principal "
            f"components, which hold {share} of the variance, one colour a class.",
            f"Latents of the original model on two principal components, which hold {share} of the variance.",
        )
        blocks += [Heading("Latent space of the original model"), Figures((figure,), is_wide=True)]
    return blocks


def _plane_words(plane: LatentPlane, names: tuple[str, ...]) -> tuple[str, str]:
    """What a plane shows, for those who cannot see it, and its caption."""
    own = [x for x, label in zip(plane.along, plane.labels, strict=True) if label == plane.label]
    beyond = sum(x > 0 for x in plane.moved_along)
    label, target = name_of(names, plane.label), name_of(names, plane.target)
    moved = f" {beyond} of {len(plane.moved_along)} moved latents lie beyond it." if plane.moved_along else ""
    alt = (
        f"Scatter plot of the latents of {label} and {target} around their boundary: "
        f"{sum(x <= 0 for x in own)} of {len(own)} latents of {label} lie on their own side.{moved}"
    )
    caption = (
        f"{label} and {target}: distance from the attention SVM's boundary against the main direction "
        f"across it.{moved}"
    )
    return alt, caption


def _retraining(losses: tuple[EpochLosses, ...]) -> list[Block]:
    blocks: list[Block] = [Heading("Retraining")]
    terms = [name for name in TERMS if all(name in epoch.terms for epoch in losses)]
    if chart := losses_chart(losses):
        first, last = losses[0], losses[-1]
        figure = Figure(
            chart,
            f"Line chart of the mean loss over {len(losses)} epochs: "
            + ", ".join(
                f"{TERMS[name]} from {wording.number(first.terms[name])} to "
                f"{wording.number(last.terms[name])}"
                for name in terms
            )
            + ".",
            "Mean loss by epoch.",
        )
        blocks.append(Figures((figure,), is_wide=True))
    shown = losses[-_MAX_EPOCHS:]
    start = len(losses) - len(shown) + 1
    blocks.append(
        Table(
            "Mean retraining losses",
            (Column("Epoch", is_number=False), *(Column(TERMS[name].capitalize()) for name in terms)),
            tuple(
                (
                    Cell(wording.count(number)),
                    *(Cell(wording.number(epoch.terms[name])) for name in terms),
                )
                for number, epoch in enumerate(shown, start)
            ),
            folded="Losses by epoch" if len(losses) >= _FOLDED_FROM else None,
            cut=left_out(len(shown), len(losses), "epochs, the last ones,"),
            css="narrow",
        )
    )
    return blocks
