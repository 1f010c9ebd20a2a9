"""Which device nodes a child on a GPU needs: its own card's, and those of the driver that all cards share.

Uses nothing but the standard library, as all that a child imports before its walls stand.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEV = Path("/dev")
DRIVER = Path("/proc/driver/nvidia")

# Not nvidia-uvm-tools, by which profilers watch: CUDA itself opens it for nobody.
_SHARED = ("nvidiactl", "nvidia-uvm")
_OF_INSTANCES = "nvidia-caps"
_FIELD = re.compile(r"^([\w ]+?):\s+(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """One of the machine's cards.

    Attributes:
        uuid: By which CUDA knows it, ``GPU-`` and so on.
        minor: Number of its device node.
        model: Its name.
    """

    uuid: str
    minor: int
    model: str


def cards(driver: Path = DRIVER) -> list[Card]:
    """The machine's cards in the order of the PCI bus; empty where the driver does not tell of all of them.

    It shows question marks for the UUID of a card that nobody has used since it was loaded.
    """
    found = []
    for information in sorted(driver.glob("gpus/*/information")):
        fields = dict(_FIELD.findall(information.read_text()))
        uuid, minor = fields.get("GPU UUID", "?"), fields.get("Device Minor", "")
        if "?" in uuid or not minor.isdigit():
            return []
        found.append(Card(uuid, int(minor), fields.get("Model", "")))
    return found


def card_of(of: Sequence[Card], visible: str | None, order: str | None) -> Card | None:
    """The card that a job runs on, the first that CUDA shows; None where that cannot be known.

    Args:
        of: The cards there are, in the order of the bus.
        visible: ``CUDA_VISIBLE_DEVICES``; None for all of them.
        order: ``CUDA_DEVICE_ORDER``. Without, CUDA puts the fastest first, and equals as the bus does.
    """
    name = "0" if visible is None else visible.partition(",")[0].strip()
    uuid = name.removeprefix("MIG-").partition("/")[0]
    if uuid.startswith("GPU-"):
        matching = [card for card in of if card.uuid.startswith(uuid)]
        return matching[0] if len(matching) == 1 else None
    is_by_bus = order == "PCI_BUS_ID" or len({card.model for card in of}) == 1
    if name.isdigit() and is_by_bus and int(name) < len(of):
        return of[int(name)]
    return None


def own_nodes(visible: str | None = None, dev: Path = DEV, driver: Path = DRIVER) -> tuple[Path, ...]:
    """The nodes of a child; of all cards where ``CUDA_VISIBLE_DEVICES`` does not name one by its UUID.

    By a number it may be another card: CUDA counts only those whose nodes it can open.

    Args:
        visible: What to take for ``CUDA_VISIBLE_DEVICES``, if not what is in the environment.
        dev: Where device nodes lie.
        driver: What the driver tells.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if visible is None else visible
    is_instance = visible.startswith("MIG-")
    card = card_of(cards(driver), visible, None) if visible.startswith(("GPU-", "MIG-GPU-")) else None
    of_cards = sorted(dev.glob("nvidia[0-9]*")) if card is None else [dev / f"nvidia{card.minor}"]
    others = [dev / name for name in (*_SHARED, *([_OF_INSTANCES] if is_instance else []))]
    return tuple(node for node in (*of_cards, *others) if node.exists())
