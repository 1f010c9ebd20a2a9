"""How often a job alone met an outage: what a worker meets with any job is not counted.

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # With a default, which an API of the version before relies on.
    op.add_column("jobs", sa.Column("outages", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "outages")
