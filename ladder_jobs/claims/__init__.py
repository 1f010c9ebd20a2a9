"""How a worker takes a job, keeps it, and gives it up.

Postgres owns the job. A claim is a lease: it ends unless a heartbeat renews it, and every write the worker
makes names the claim's token, so a worker whose lease went to another can change nothing any more.

These functions take a session and do not commit; ``with sessions.begin() as session:`` around them does.
"""

from ladder_jobs.claims.checkpoints import StoredCheckpoint, checkpoints_of, record_checkpoint
from ladder_jobs.claims.fence import LeaseLost
from ladder_jobs.claims.holding import (
    Answer,
    StoredArtifact,
    heartbeat,
    outcome_of,
    record_progress,
    release,
    release_after_outage,
    settle_cancelled,
    settle_failed,
    settle_succeeded,
)
from ladder_jobs.claims.taking import Claim, UploadRef, claim_job
from ladder_jobs.sweeps import SweepResult, sweep

__all__ = [
    "Answer",
    "Claim",
    "LeaseLost",
    "StoredArtifact",
    "StoredCheckpoint",
    "SweepResult",
    "UploadRef",
    "checkpoints_of",
    "claim_job",
    "heartbeat",
    "outcome_of",
    "record_checkpoint",
    "record_progress",
    "release",
    "release_after_outage",
    "settle_cancelled",
    "settle_failed",
    "settle_succeeded",
    "sweep",
]
