"""Runs the pipeline and says how it ended."""

import sys
import time
import traceback

import torch

from ladder_core.checkpoints import Checkpoints
from ladder_core.errors import HardeningError, StopRequested
from ladder_core.pipeline import run_pipeline
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import MAX_MESSAGE_LENGTH, Stage
from ladder_schema.protocol import CHECKPOINTS, Checkpoint, Done, Failed, Progress, Rehearse, Start, Stopped
from worker.child.channel import Channel

_MAX_DETAIL_LENGTH = 200
_PROGRESS_SECONDS = 0.1
_SIDE = 64
_OUT_OF_MEMORY = (
    "There is not enough memory for this job. Try a smaller retraining.batch_size, evaluation.batch_size or "
    "generator.batch_size, or fewer samples."
)
_INTERNAL = "The service failed while hardening the model; this is not the upload's fault."


class ProgressSender:
    """The pipeline's callback: forwards where it stands, not more often than anybody can read."""

    def __init__(self, channel: Channel) -> None:
        self.stage: Stage | None = None
        self._channel = channel
        self._started = time.monotonic()
        self._next_at = 0.0

    def __call__(self, stage: Stage, progress: float, detail: str) -> bool:
        """Forward progress and return whether to go on."""
        now = time.monotonic()
        if stage is not self.stage:
            self.note(f"stage={stage}")
        if stage is not self.stage or now >= self._next_at:
            self.stage, self._next_at = stage, now + _PROGRESS_SECONDS
            self._channel.send(
                Progress(stage=stage, progress=progress, detail=_text(detail, _MAX_DETAIL_LENGTH))
            )
        return not self._channel.stop_requested.is_set()

    def note(self, what: str) -> None:
        """Write a line to the log, which the job's owner reads, with the seconds since the start."""
        sys.stderr.write(f"seconds={time.monotonic() - self._started:.1f} {what}\n")


def harden(start: Start, channel: Channel) -> Done | Failed | Stopped:
    """Run one job.

    Returns:
        The last message to the parent. Whatever goes wrong becomes one; a traceback goes to the log only.
    """
    progress = ProgressSender(channel)
    try:
        run_pipeline(
            start.model,
            start.dataset,
            start.work_dir,
            start.config,
            device=_device(start.device),
            on_progress=progress,
            checkpoints=Checkpoints(
                directory=start.work_dir / CHECKPOINTS,
                resume_from=start.resume_from,
                every_seconds=start.checkpoint_seconds,
                on_saved=lambda name: channel.send(Checkpoint(name=name)),
            ),
        )
    except StopRequested:
        progress.note("stopped")
        return Stopped()
    except HardeningError as error:
        progress.note(f"refused={error.code}")
        return _failed(error.code, error.message, progress.stage)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        if _is_out_of_memory(error):
            return _failed(ErrorCode.OUT_OF_MEMORY, _OUT_OF_MEMORY, progress.stage)
        return _failed(ErrorCode.INTERNAL, f"{_INTERNAL} ({type(error).__name__})", progress.stage)
    progress.note("done")
    return Done()


def rehearse(task: Rehearse) -> Done | Failed:
    """Show that this process could run a job: what it takes is imported, and its device computes."""
    try:
        ones = torch.ones(_SIDE, _SIDE, device=_device(task.device))
        total = (ones @ ones).sum().item()
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return _failed(ErrorCode.INTERNAL, f"{_INTERNAL} ({type(error).__name__})", None)
    if total != _SIDE**3:
        return _failed(ErrorCode.INTERNAL, f"{task.device} computes {total} where it is {_SIDE**3}", None)
    return Done()


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _failed(code: ErrorCode, message: str, stage: Stage | None) -> Failed:
    return Failed(code=code, message=_text(message, MAX_MESSAGE_LENGTH), stage=stage)


def _text(text: str, limit: int) -> str:
    """What a message can carry: a file's name may hold lone surrogates, which no JSON reader takes."""
    return text[:limit].encode(errors="replace").decode()
