"""`python -I -m worker.child`: one hardening job, told over standard input, in a process of its own."""

import argparse
import os
import sys
from typing import Never

from ladder_schema.protocol import Hello
from worker.child.channel import Channel
from worker.child.confinement import confine


def main() -> Never:
    """Confine this process, then do what the parent says."""
    parser = argparse.ArgumentParser(prog="python -m worker.child")
    parser.add_argument("--max-file-bytes", type=int, required=True)
    parser.add_argument("--own-user", action="store_true")
    arguments = parser.parse_args()

    channel = Channel()
    confine(max_file_bytes=arguments.max_file_bytes, own_user=arguments.own_user)
    channel.send(Hello())
    start = channel.receive_start()

    # Seconds of imports, and no code of theirs runs in a process that is not confined yet.
    from worker.child.hardening import harden  # noqa: PLC0415

    channel.send(harden(start, channel))
    sys.stdout.flush()
    sys.stderr.flush()
    # The results are on the disk and the last word is said; taking a used torch apart can take seconds.
    os._exit(0)


if __name__ == "__main__":
    main()
