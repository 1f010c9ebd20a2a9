"""Can the figures be trusted? Values measured by probes and by the evaluation, judged by pure functions."""

from ladder_core.checks.run import CheckedRun, Effort, run_checks

__all__ = ["CheckedRun", "Effort", "run_checks"]
