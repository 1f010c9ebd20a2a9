"""What a child finds in its environment."""

import os
from pathlib import Path

# Everything else stays behind: a secret that is not in the environment cannot be read from it.
KEPT_VARIABLES = (
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TZ",
)


def child_environment(work_dir: Path) -> dict[str, str]:
    """Variables of a child: how to find and use the hardware, and where to put files."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "HOME": str(work_dir),
        "TMPDIR": str(work_dir),
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        # Who else asks for the user's name reads /etc/passwd, which is out of reach.
        "LOGNAME": "ladder",
        # joblib would look for shared semaphores, which it cannot have, and warn.
        "JOBLIB_MULTIPROCESSING": "0",
    }
