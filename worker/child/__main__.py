"""`python -I -m worker.child`: one hardening job, told over standard input, in a process of its own."""

import argparse
import os
import sys
from typing import Never

from ladder_schema.protocol import Hello, Start
from worker.child.channel import Channel
from worker.sandbox import Confinement, confine


def main() -> Never:
    """Confine this process, then do what the parent says."""
    parser = argparse.ArgumentParser(prog="python -m worker.child")
    parser.add_argument("confinement", type=Confinement.from_argument)
    arguments = parser.parse_args()

    confine(arguments.confinement)
    channel = Channel()
    channel.send(Hello())
    task = channel.receive_task()

    # Seconds of imports, and no code of theirs runs in a process that is not confined yet.
    from worker.child.hardening import harden, rehearse  # noqa: PLC0415

    channel.send(harden(task, channel) if isinstance(task, Start) else rehearse(task))
    sys.stdout.flush()
    sys.stderr.flush()
    # The results are on the disk and the last word is said; taking a used torch apart can take seconds.
    os._exit(0)


if __name__ == "__main__":
    main()
