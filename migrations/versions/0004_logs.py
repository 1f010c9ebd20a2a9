"""Each attempt's log; the request and the trace that a job came from.

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("request_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("traceparent", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("traceparent", sa.Text(), nullable=True))
    op.create_table(
        "logs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="pk_logs"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_logs_job_id_jobs", ondelete="CASCADE"),
        sa.CheckConstraint("bytes > 0", name=op.f("ck_logs_not_empty")),
    )
    op.create_table(
        "log_chunks",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "attempt", "start", name="pk_log_chunks"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_log_chunks_job_id_jobs", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("log_chunks")
    op.drop_table("logs")
    op.drop_column("attempts", "traceparent")
    op.drop_column("jobs", "traceparent")
    op.drop_column("jobs", "request_id")
