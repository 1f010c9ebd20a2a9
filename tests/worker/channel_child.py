"""A child on the real channel and in the real confinement, without a pipeline.

It prints to standard output on every level, tells its limits, and stays until it is told to stop.
"""

import json
import os
import resource
from pathlib import Path

from ladder_schema.errors import ErrorCode
from ladder_schema.protocol import Failed, Hello
from worker.child.channel import Channel
from worker.sandbox import Confinement, confine

if __name__ == "__main__":
    channel = Channel()
    here = str(Path.cwd())
    confine(
        Confinement(
            here,
            (here,),
            1 << 20,
            max_cpu_seconds=60,
            parent=os.getppid(),
            own_user=False,
            gpu=False,
            strict=True,
        )
    )
    channel.send(Hello())
    start = channel.receive_task()
    print("printed by Python", flush=True)
    os.write(1, b"written to descriptor 1\n")
    channel.stop_requested.wait()
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    limits = {
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "file": resource.getrlimit(resource.RLIMIT_FSIZE),
        "open": resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1_024,
        "no_new_privs": status["NoNewPrivs"],
        "stdin": str(Path("/proc/self/fd/0").readlink()),
    }
    channel.send(Failed(code=ErrorCode.MODEL_UNSUPPORTED, message=json.dumps(limits)))
