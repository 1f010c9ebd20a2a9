"""Indices for long queues of many owners; objects to delete.

Revision: 0002
Follows: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_QUEUED = sa.text("status = 'queued'")
_AGE: tuple[str | sa.TextClause, ...] = (sa.text("priority DESC"), "created_at")


def upgrade() -> None:
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index("ix_jobs_claim", "jobs", ["queue", *_AGE, "id"], postgresql_where=_QUEUED)
    op.create_index(
        "ix_jobs_claim_of_owner", "jobs", ["queue", "owner_id", *_AGE, "id"], postgresql_where=_QUEUED
    )
    op.create_table(
        "deletions",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("object_key", name="pk_deletions"),
    )


def downgrade() -> None:
    op.drop_table("deletions")
    op.drop_index("ix_jobs_claim_of_owner", "jobs")
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index("ix_jobs_claim", "jobs", ["queue", *_AGE], postgresql_where=_QUEUED)
