"""Runs the scripts on the connection it is handed; who calls decides on the transaction and the lock."""

from alembic import context
from sqlalchemy import Connection

from ladder_jobs.tables import Base

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
