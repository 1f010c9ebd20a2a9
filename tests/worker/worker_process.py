"""A worker like `python -m worker hardening`, but with children that follow a script.

`worker_process.py QUEUE BEHAVIOUR`
"""

import sys
from pathlib import Path

from ladder_jobs.logs import configure_logging
from worker.service import serve
from worker.settings import WorkerSettings

if __name__ == "__main__":
    queue, behaviour = sys.argv[1:]
    settings = WorkerSettings()
    configure_logging(settings.log_level)
    script = str(Path(__file__).with_name("scripted_child.py"))
    serve(settings, queue=queue, device="cpu", child_command=(sys.executable, "-I", script, behaviour))
