"""The picture of a job's life, drawn from the transitions: ``python -m ladder_jobs.diagram``."""

import sys

from ladder_jobs.states import TRANSITIONS
from ladder_schema.jobs import FINAL_STATUSES, JobStatus

_PAGE = """\
# The life of a job

Written by `python -m ladder_jobs.diagram` from `TRANSITIONS` in `ladder_jobs/states.py`; change it there.

```mermaid
{diagram}
```
"""


def mermaid() -> str:
    """The state machine as text that Mermaid draws."""
    moves = [f"{source.value} --> {target.value}: {cause}" for source, target, cause in TRANSITIONS]
    ends = [f"{status.value} --> [*]" for status in JobStatus if status in FINAL_STATUSES]
    return "\n    ".join(["stateDiagram-v2", f"[*] --> {JobStatus.QUEUED.value}", *moves, *ends])


def page() -> str:
    """The whole of ``docs/jobs.md``."""
    return _PAGE.format(diagram=mermaid())


if __name__ == "__main__":
    sys.stdout.write(page())
