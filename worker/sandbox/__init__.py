"""The walls around the process that holds an uploaded model: limits, landlock, seccomp."""

from worker.sandbox.confinement import Confinement, Wall, confine

__all__ = ["Confinement", "Wall", "confine"]
