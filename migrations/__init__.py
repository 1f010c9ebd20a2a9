"""Alembic's scripts, installed with the rest and run by :func:`ladder_jobs.database.migrate`."""
