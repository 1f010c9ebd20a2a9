"""When the results and uploads of ended jobs expire; how long a job may wait to be claimed.

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("uploads", sa.Column("expired_at", _TIME, nullable=True))
    op.add_column("jobs", sa.Column("artifacts_expired_at", _TIME, nullable=True))
    op.add_column("jobs", sa.Column("uploads_expired_at", _TIME, nullable=True))
    op.create_check_constraint(
        op.f("ck_jobs_expired_has_ended"),
        "jobs",
        "finished_at IS NOT NULL OR (artifacts_expired_at IS NULL AND uploads_expired_at IS NULL)",
    )
    for name, condition in (
        ("ix_jobs_artifacts_kept", "finished_at IS NOT NULL AND artifacts_expired_at IS NULL"),
        ("ix_jobs_uploads_kept", "finished_at IS NOT NULL AND uploads_expired_at IS NULL"),
        ("ix_jobs_ended", "finished_at IS NOT NULL"),
    ):
        op.create_index(name, "jobs", ["finished_at"], postgresql_where=sa.text(condition))
    op.create_index(
        "ix_jobs_unclaimed", "jobs", ["not_before"], postgresql_where=sa.text("status = 'queued'")
    )


def downgrade() -> None:
    for name in ("ix_jobs_unclaimed", "ix_jobs_ended", "ix_jobs_uploads_kept", "ix_jobs_artifacts_kept"):
        op.drop_index(name, "jobs")
    op.drop_constraint(op.f("ck_jobs_expired_has_ended"), "jobs", type_="check")
    op.drop_column("jobs", "uploads_expired_at")
    op.drop_column("jobs", "artifacts_expired_at")
    op.drop_column("uploads", "expired_at")
