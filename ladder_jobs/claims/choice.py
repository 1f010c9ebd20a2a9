"""Which queued job is the best: highest priority, then the owner with fewest jobs running, then the oldest.

Two lists of common table expressions give the same answer as ``best (id)``, and lock the row.
``BEST_OF_HEADS`` reads a few rows from the front of an index, however long the queue is. ``BEST_OF_ALL``
reads the whole queue: it is for when other transactions hold all rows that the first one looked at. They are
text because a statement built anew for each claim costs more than its execution.
"""

from ladder_jobs.claimable import claimable
from ladder_jobs.states import LEASED_STATUSES
from ladder_schema.jobs import JobStatus

_LEASED = ", ".join(f"'{status}'" for status in JobStatus if status in LEASED_STATUSES)

_CLAIMABLE = claimable(":queue")
_ORDER = "priority DESC, created_at, id"

# Counted once for all owners, so that a long queue does not count again for each of its jobs.
_LOAD = f"""
load AS MATERIALIZED (
    SELECT owner_id, count(*) AS jobs FROM jobs WHERE status IN ({_LEASED}) GROUP BY owner_id
)"""  # noqa: S608 - of constants

# Nobody with something running comes before somebody with nothing, at the same priority. So the first jobs of
# owners with nothing running are enough, and of busy owners only what has a higher priority than those. Where
# the front of the queue is all busy owners', the first jobs of every owner are looked at.
BEST_OF_HEADS = f"""{_LOAD},
idle AS MATERIALIZED (
    SELECT id, priority, created_at
    FROM (
        SELECT id, priority, created_at, owner_id FROM jobs WHERE {_CLAIMABLE} ORDER BY {_ORDER} LIMIT 500
    ) front
    WHERE owner_id NOT IN (SELECT owner_id FROM load)
    ORDER BY {_ORDER} LIMIT 16
),
reached AS MATERIALIZED (SELECT max(priority) AS priority FROM idle),
waiting (owner_id) AS (
    (
        SELECT owner_id FROM jobs
        WHERE status = '{JobStatus.QUEUED}' AND queue = :queue AND NOT EXISTS (SELECT FROM idle)
        ORDER BY owner_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT owner_id FROM jobs
        WHERE status = '{JobStatus.QUEUED}' AND queue = :queue AND owner_id > waiting.owner_id
        ORDER BY owner_id LIMIT 1
    )
    FROM waiting WHERE waiting.owner_id IS NOT NULL
),
heads AS (
    SELECT id, priority, created_at, 0 AS jobs FROM idle
    UNION ALL
    SELECT head.*, owner.jobs
    FROM (
        SELECT owner_id, jobs FROM load WHERE EXISTS (SELECT FROM idle)
        UNION ALL
        SELECT owner_id, coalesce(load.jobs, 0) FROM waiting LEFT JOIN load USING (owner_id)
        WHERE owner_id IS NOT NULL
    ) owner
    CROSS JOIN LATERAL (
        SELECT id, priority, created_at FROM jobs
        WHERE {_CLAIMABLE} AND owner_id = owner.owner_id
            AND priority > coalesce((SELECT priority FROM reached), {-(1 << 31)})
        ORDER BY {_ORDER} LIMIT 6
    ) head
),
first AS (SELECT id, jobs FROM heads ORDER BY priority DESC, jobs, created_at, id LIMIT 16),
best AS (
    SELECT jobs.id FROM first JOIN jobs USING (id)
    WHERE {_CLAIMABLE}
    ORDER BY jobs.priority DESC, first.jobs, jobs.created_at, jobs.id
    LIMIT 1 FOR UPDATE OF jobs SKIP LOCKED
)
"""  # noqa: S608 - of constants

BEST_OF_ALL = f"""{_LOAD},
best AS (
    SELECT jobs.id FROM jobs LEFT JOIN load USING (owner_id)
    WHERE {_CLAIMABLE}
    ORDER BY jobs.priority DESC, coalesce(load.jobs, 0), jobs.created_at, jobs.id
    LIMIT 1 FOR UPDATE OF jobs SKIP LOCKED
)
"""  # noqa: S608 - of constants
