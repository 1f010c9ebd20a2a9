"""What the report shows: adversarial examples, walks across a boundary, reconstructions."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ladder_report import images, wording
from ladder_report.document.blocks import Block, Card, Cell, Gallery, Heading, Picture, Section, Strips
from ladder_report.document.cells import left_out
from ladder_report.document.classes import name_of
from ladder_report.labels import ATTACKS
from ladder_schema.report import GalleryItem, Pictures, Reconstruction, Thumbnail, Walk

_GALLERY_BYTES = 3 << 20
_WALKS_BYTES = 2 << 20
_RECONSTRUCTIONS_BYTES = 1 << 20
_MAX_CARDS = 48
_RHO = "\N{GREEK SMALL LETTER RHO}"

_Item = TypeVar("_Item", GalleryItem, Walk, Reconstruction)


def examples_section(pictures: Pictures, names: tuple[str, ...]) -> Section | None:
    """The gallery and the walks; None where there is neither."""
    blocks: list[Block] = []
    lead = "Images as the models saw them."
    if pictures.gallery:
        factor = images.amplification(pictures.gallery)
        amplified = f", amplified \N{MULTIPLICATION SIGN}{factor}" if factor > 1 else ""
        lead = (
            f"The difference is adversarial minus original around mid-grey{amplified}: brighter where pixels "
            "were raised, darker where they were lowered."
        )
        blocks.append(_gallery(pictures.gallery, names, factor))
    if pictures.walks:
        blocks += [
            Heading("Walks across a boundary"),
            _walks(pictures.walks, names),
        ]
    return Section("gallery", "Adversarial examples", lead, tuple(blocks)) if blocks else None


def reconstructions(pictures: Pictures) -> Gallery | None:
    """Originals beside what the generator makes of them (paper Fig. 4); None where there are none."""
    items = pictures.reconstructions
    if not items:
        return None
    shown = _within(items, _RECONSTRUCTIONS_BYTES, lambda item: 2 * len(item.original.pixels))
    cards = tuple(
        Card(
            f"{item.split} image",
            (
                _picture(item.original, f"Original {item.split} image {number}", ("original",)),
                _picture(item.reconstructed, f"Its reconstruction {number}", ("rebuilt",)),
            ),
        )
        for number, item in enumerate(shown, 1)
    )
    return Gallery(cards, left_out(len(shown), len(items), "reconstructions"))


def _gallery(items: tuple[GalleryItem, ...], names: tuple[str, ...], factor: int) -> Gallery:
    shown = _within(items, _GALLERY_BYTES, lambda item: 3 * len(item.original.pixels))
    return Gallery(
        tuple(_card(item, names, factor) for item in shown), left_out(len(shown), len(items), "examples")
    )


def _card(item: GalleryItem, names: tuple[str, ...], factor: int) -> Card:
    label = name_of(names, item.label)
    amplified = f" \N{MULTIPLICATION SIGN}{factor}" if factor > 1 else ""
    difference = images.png(images.difference(item, factor))
    shape = item.original.width, item.original.height
    rows = [
        ("Label", Cell(label)),
        ("Before, original image", _prediction(names, item.predicted_original, item.label)),
        ("Before, adversarial", _prediction(names, item.predicted_adversarial, item.label)),
        ("After, adversarial", _prediction(names, item.predicted_hardened, item.label)),
    ]
    if item.rho is not None:
        rows.append((f"Relative step {_RHO}", Cell(wording.number(item.rho))))
    return Card(
        ATTACKS[item.attack],
        (
            _picture(item.original, f"Original image of {label}", ("original",)),
            _picture(item.adversarial, f"{ATTACKS[item.attack]} example made from it", ("adversarial",)),
            Picture(
                difference, *shape, f"Difference of the two{amplified}", (f"difference{amplified}",)
            ),
        ),
        tuple(rows),
    )  # fmt: skip


def _prediction(names: tuple[str, ...], predicted: int, label: int) -> Cell:
    return Cell(name_of(names, predicted), tone="right" if predicted == label else "wrong")


def _walks(walks: tuple[Walk, ...], names: tuple[str, ...]) -> Strips:
    shown = _within(walks, _WALKS_BYTES, lambda walk: (1 + len(walk.steps)) * len(walk.original.pixels))
    return Strips(
        tuple(_walk(walk, names) for walk in shown), left_out(len(shown), len(walks), "walks")
    )  # fmt: skip


def _walk(walk: Walk, names: tuple[str, ...]) -> Card:
    label, target = name_of(names, walk.label), name_of(names, walk.target)
    steps = tuple(
        _picture(
            step.image,
            f"At {_RHO} {wording.number(step.rho)}: the original model says "
            f"{name_of(names, step.predicted_original)}, the hardened one "
            f"{name_of(names, step.predicted_hardened)}",
            (
                f"{_RHO} {wording.number(step.rho)}",
                f"before: {name_of(names, step.predicted_original)}",
                f"after: {name_of(names, step.predicted_hardened)}",
            ),
            tone="right" if step.predicted_original == walk.label else "wrong",
        )
        for step in walk.steps
    )
    title = f"{label} \N{RIGHTWARDS ARROW} {target}"
    return Card(title, (_picture(walk.original, f"Original image of {label}", ("original",)), *steps))


def _picture(thumbnail: Thumbnail, alt: str, caption: tuple[str, ...], tone: str | None = None) -> Picture:
    png = images.png(images.to_image(thumbnail))
    return Picture(png, thumbnail.width, thumbnail.height, alt, caption, tone)  # type: ignore[arg-type]


def _within(items: Sequence[_Item], budget: int, size: Callable[[_Item], int]) -> list[_Item]:
    """The first items whose pixels fit the budget, one at least: a page has to stay light."""
    shown: list[_Item] = []
    used = 0
    for item in items[:_MAX_CARDS]:
        used += size(item)
        if shown and used > budget:
            break
        shown.append(item)
    return shown
