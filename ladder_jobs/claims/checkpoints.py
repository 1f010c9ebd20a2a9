"""What an attempt leaves for the next one to go on from."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from ladder_jobs.claims.fence import hold
from ladder_jobs.claims.taking import Claim
from ladder_jobs.deletions import write_down
from ladder_jobs.tables import Checkpoint
from ladder_schema.protocol import CheckpointName


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint in the object store."""

    key: str
    bytes: int
    sha256: str


def record_checkpoint(session: Session, claim: Claim, name: CheckpointName, stored: StoredCheckpoint) -> None:
    """Make a stored checkpoint the one to go on from; the object of the one it replaces is to be deleted.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    hold(session, claim)
    row = session.get(Checkpoint, (claim.job_id, name))
    if row is None:
        row = Checkpoint(job_id=claim.job_id, name=name)
        session.add(row)
    else:
        write_down(session, [row.object_key])
    row.attempt = claim.attempt
    row.object_key, row.bytes, row.sha256 = stored.key, stored.bytes, stored.sha256


def checkpoints_of(session: Session, claim: Claim) -> Mapping[CheckpointName, StoredCheckpoint]:
    """What earlier attempts left.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    hold(session, claim)
    rows = session.scalars(select(Checkpoint).where(Checkpoint.job_id == claim.job_id))
    return {row.name: StoredCheckpoint(row.object_key, row.bytes, row.sha256) for row in rows}
