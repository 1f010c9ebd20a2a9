"""A worker like `python -m worker hardening`, but of any queue, and with children that follow a script.

`worker_process.py QUEUE [BEHAVIOUR]`; without a behaviour the children are the real ones.
"""

import sys
from pathlib import Path

from ladder_jobs.logs import configure_logging
from worker.process import CHILD_COMMAND
from worker.service import serve
from worker.settings import WorkerSettings

if __name__ == "__main__":
    queue, *behaviour = sys.argv[1:]
    settings = WorkerSettings()
    configure_logging(settings.log_level)
    script = str(Path(__file__).with_name("scripted_child"))
    command = (sys.executable, "-I", script, *behaviour) if behaviour else CHILD_COMMAND
    serve(settings, queue=queue, device="cpu", child_command=command)
