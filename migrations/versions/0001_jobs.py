"""Owners, keys, uploads, jobs, attempts, events, artifacts.

Revision: 0001
Follows: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_WORD = sa.String(64)
_TIME = sa.DateTime(timezone=True)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, _TIME, server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "owners",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_owners"),
        sa.UniqueConstraint("name", name="uq_owners_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        _now("created_at"),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_api_keys_owner_id_owners"),
    )
    op.create_index("ix_api_keys_owner_id", "api_keys", ["owner_id"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.UniqueConstraint("object_key", name="uq_uploads_object_key"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_uploads_owner_id_owners"),
        sa.CheckConstraint("kind IN ('model', 'dataset')", name=op.f("ck_uploads_kind")),
        sa.CheckConstraint("bytes > 0", name=op.f("ck_uploads_not_empty")),
    )
    op.create_index("ix_uploads_owner_id_sha256", "uploads", ["owner_id", "sha256"])
    _create_jobs()
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        _now("started_at"),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("outcome", _WORD, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_attempts"),
        sa.UniqueConstraint("token", name="uq_attempts_token"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_attempts_job_id_jobs", ondelete="CASCADE"),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (outcome IS NULL)", name=op.f("ck_attempts_ended_has_outcome")
        ),
    )
    op.create_index(
        "ix_attempts_open",
        "attempts",
        ["job_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _now("at"),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("stage", _WORD, nullable=True),
        sa.Column("data", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id_jobs", ondelete="CASCADE"),
    )
    op.create_index("ix_events_job_id_id", "events", ["job_id", "id"])
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_artifacts"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_artifacts_job_id_jobs", ondelete="CASCADE"),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_artifacts_size")),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("stage", _WORD, nullable=True),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("model_upload_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_upload_id", sa.Uuid(), nullable=False),
        sa.Column("error_code", _WORD, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_stage", _WORD, nullable=True),
        _now("created_at"),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("cancel_requested_at", _TIME, nullable=True),
        _now("not_before"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", _TIME, nullable=True),
        sa.Column("child_deaths", sa.Integer(), nullable=False),
        sa.Column("worker_losses", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("owner_id", "idempotency_key", name="uq_jobs_owner_id_idempotency_key"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_jobs_owner_id_owners"),
        sa.ForeignKeyConstraint(["model_upload_id"], ["uploads.id"], name="fk_jobs_model_upload_id_uploads"),
        sa.ForeignKeyConstraint(
            ["dataset_upload_id"], ["uploads.id"], name="fk_jobs_dataset_upload_id_uploads"
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_jobstatus"),
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name=op.f("ck_jobs_progress")),
        sa.CheckConstraint(
            "(status IN ('running', 'cancelling')) = (token IS NOT NULL)",
            name=op.f("ck_jobs_leased_has_token"),
        ),
        sa.CheckConstraint("(token IS NULL) = (worker IS NULL)", name=op.f("ck_jobs_token_with_worker")),
        sa.CheckConstraint(
            "(token IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_jobs_token_with_lease")
        ),
        sa.CheckConstraint("(attempt = 0) = (started_at IS NULL)", name=op.f("ck_jobs_attempted_has_start")),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_final_has_finish"),
        ),
        sa.CheckConstraint(
            "(status = 'failed') = (error_code IS NOT NULL)", name=op.f("ck_jobs_failed_has_error")
        ),
        sa.CheckConstraint(
            "(error_code IS NULL) = (error_message IS NULL)", name=op.f("ck_jobs_error_has_message")
        ),
        sa.CheckConstraint(
            "(status IN ('cancelling', 'cancelled')) = (cancel_requested_at IS NOT NULL)",
            name=op.f("ck_jobs_cancelled_has_request"),
        ),
    )
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        ["queue", sa.text("priority DESC"), "created_at"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_jobs_leased",
        "jobs",
        ["lease_expires_at", "owner_id"],
        postgresql_where=sa.text("status IN ('running', 'cancelling')"),
    )
    op.create_index("ix_jobs_newest", "jobs", ["owner_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("ix_jobs_model_upload_id", "jobs", ["model_upload_id"])
    op.create_index("ix_jobs_dataset_upload_id", "jobs", ["dataset_upload_id"])


def downgrade() -> None:
    for table in ("artifacts", "events", "attempts", "jobs", "uploads", "api_keys", "owners"):
        op.drop_table(table)
