"""What a document is made of. Every string is data of an untrusted process: a face cleans and escapes it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ladder_report.charts.style import Chart
from ladder_schema.report import Status

Tone = Literal["up", "down", "same", "right", "wrong"]
HEAT_LEVELS = 10
SHIFT_LEVELS = 5


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        notes: Smaller lines below.
        tone: How a change or a prediction is coloured.
        heat: 0 to `HEAT_LEVELS`, how high a rate is.
        shift: -`SHIFT_LEVELS` to `SHIFT_LEVELS`, how far a rate fell or rose.
    """

    text: str
    notes: tuple[str, ...] = ()
    tone: Tone | None = None
    heat: int | None = None
    shift: int | None = None


@dataclass(frozen=True)
class Column:
    """A column's head."""

    title: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Rows under named columns; a row's first cell names it.

    Attributes:
        folded: What a page that can fold it shows of it at first; None where it is never folded.
        cut: Says how many rows were left out, and where they are.
        css: The style's name for tables that look unlike others.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: str | None = None
    cut: str | None = None
    css: str = ""
    kind: ClassVar = "table"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]
    kind: ClassVar = "facts"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    title: str
    texts: tuple[str, ...]
    kind: ClassVar = "bullets"


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str
    kind: ClassVar = "paragraph"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: ClassVar = "heading"


@dataclass(frozen=True)
class Figure:
    """A chart; its alternative text says what it shows."""

    chart: Chart
    alt: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """Charts, side by side where there is room."""

    figures: tuple[Figure, ...]
    is_wide: bool = False
    kind: ClassVar = "figures"


@dataclass(frozen=True)
class Picture:
    """A PNG image."""

    png: bytes
    width: int
    height: int
    alt: str
    caption: tuple[str, ...]
    tone: Tone | None = None


@dataclass(frozen=True)
class Card:
    """Pictures that belong together, and what is said of them."""

    title: str
    pictures: tuple[Picture, ...]
    rows: tuple[tuple[str, Cell], ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Cards in a grid."""

    cards: tuple[Card, ...]
    cut: str | None = None
    kind: ClassVar = "gallery"


@dataclass(frozen=True)
class Strips:
    """Cards below each other, each a row of pictures."""

    cards: tuple[Card, ...]
    cut: str | None = None
    kind: ClassVar = "strips"


@dataclass(frozen=True)
class CheckLine:
    """A trust check's finding."""

    status: Status
    title: str
    of: str
    finding: str
    evidence: tuple[tuple[str, str], ...]
    remedy: str | None


@dataclass(frozen=True)
class Checks:
    """Trust checks, those that did not pass first."""

    lines: tuple[CheckLine, ...]
    kind: ClassVar = "checks"


Plain = Table | Facts | Bullets | Paragraph | Heading | Figures


@dataclass(frozen=True)
class Columns:
    """Groups of blocks, side by side where there is room."""

    groups: tuple[tuple[Plain, ...], ...]
    kind: ClassVar = "columns"


Block = Plain | Gallery | Strips | Checks | Columns


@dataclass(frozen=True)
class Section:
    """A part of the document with a heading of its own."""

    name: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A main result, large: two rates from 0 to 1, and how they are written."""

    label: str
    before: float
    after: float
    was: str
    now: str
    change: Cell
    sure: str


@dataclass(frozen=True)
class Summary:
    """What stands on top."""

    recommendation: Literal["deploy", "deploy_with_care", "do_not_deploy"]
    headline: str
    findings: tuple[Bullets, ...]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Document:
    """The whole report, ready to be set."""

    title: str
    subtitle: str
    created: str
    summary: Summary
    sections: tuple[Section, ...]
    closing: str
