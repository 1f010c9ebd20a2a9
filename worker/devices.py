"""Which GPU a worker's jobs run on, found out without CUDA in this process."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import structlog

from worker.environment import child_environment
from worker.sandbox.nodes import DEV, DRIVER, card_of, cards

log = structlog.get_logger(__name__)

# CUDA does not survive a fork and is never given back by a process that used it, so a short-lived one asks.
_QUESTION = (
    "import json, torch; "
    "print(json.dumps([torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]))"
)
_SECONDS = 120.0
_DEV = Path("/dev")
_SEVERAL = 2
_REMEDY = (
    "Is this torch built for CUDA (`python -c 'import torch; print(torch.version.cuda)'`), does the driver "
    "work (`nvidia-smi`), does the container have the GPU (docker-compose.gpu.yml), and does "
    "CUDA_VISIBLE_DEVICES name it? Without a GPU, start the worker with --device cpu"
)


class NoDeviceError(Exception):
    """The worker was told to compute on a GPU, and there is none it can use."""


def choose_device(wanted: str, *, queue: str) -> str:
    """Decide where the jobs of this worker are computed: `cuda`, or `cpu` where `auto` finds no GPU.

    A job has one device. Of several that are visible it is the first, so that workers which are to use
    different ones need `CUDA_VISIBLE_DEVICES` each.

    Args:
        wanted: `auto`, `cpu` or `cuda`.
        queue: Which queue of jobs the worker serves.

    Raises:
        NoDeviceError: `cuda` was wanted, and there is none.
    """
    if wanted == "cpu":
        return wanted
    names, reason = _visible_gpus()
    if names:
        log.info("device", name=names[0], visible=os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        if len(names) > 1:
            log.warning(
                "several_gpus",
                names=names,
                remedy="only the first is used: start one worker for each, with its own CUDA_VISIBLE_DEVICES",
            )
        return "cuda"
    if wanted == "cuda":
        raise NoDeviceError(f"--device is cuda, and no GPU can be used here: {reason}. {_REMEDY}.")
    if queue == "gpu":
        log.warning("no_gpu", reason=reason, remedy=f"jobs of the queue gpu run on the CPU. {_REMEDY}")
    return "cpu"


def pin_card(device: str, *, dev: Path = DEV, driver: Path = DRIVER) -> None:
    """Name this worker's card by its UUID in ``CUDA_VISIBLE_DEVICES``, so that children get no other's node.

    Where the card cannot be known, children get the nodes of all cards, and the log says so.

    Args:
        device: What the worker computes on.
        dev: Where device nodes lie.
        driver: What the driver tells of its cards.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device != "cuda" or len(list(dev.glob("nvidia[0-9]*"))) < _SEVERAL:
        return
    card = card_of(cards(driver), visible, os.environ.get("CUDA_DEVICE_ORDER"))
    if card is None or not (dev / f"nvidia{card.minor}").exists():
        log.warning(
            "card_unknown",
            visible=visible or "all",
            remedy="children can open the device node of every card: set CUDA_VISIBLE_DEVICES to the UUID of "
            "one, as nvidia-smi -L shows it, and have the driver keep its cards ready (nvidia-persistenced)",
        )
        return
    if visible is None or not visible.startswith("MIG-"):
        os.environ["CUDA_VISIBLE_DEVICES"] = card.uuid
    log.info("card", uuid=card.uuid, node=f"nvidia{card.minor}", visible=visible or "all")


def _visible_gpus() -> tuple[list[str], str]:
    """Names of the GPUs that children would see, or none and why."""
    if not (any(_DEV.glob("nvidia[0-9]*")) or (_DEV / "dxg").exists()):
        return [], "there is no device node of a GPU (/dev/nvidia0)"
    with tempfile.TemporaryDirectory(prefix="ladder-device-") as directory:
        try:
            process = subprocess.run(  # noqa: S603 - words of our own
                [sys.executable, "-I", "-c", _QUESTION],
                env=child_environment(Path(directory)),
                cwd=directory,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [], f"torch did not say within {_SECONDS:.0f} s which GPUs there are"
    if process.returncode != 0:
        words = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return [], f"torch failed when it was asked: {words or f'exit code {process.returncode}'}"
    try:
        names: list[str] = json.loads(process.stdout.decode().splitlines()[-1])
    except (ValueError, IndexError):
        return [], "torch did not answer when it was asked"
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
    return names, f"torch sees none, with CUDA_VISIBLE_DEVICES {allowed}"
