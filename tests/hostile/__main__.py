"""Make every hostile file, try it against the walls in this process, and print which one stopped it.

python -m tests.hostile

Those that only limits stop need the worker; `tests/worker/test_hostile_uploads.py` runs them.
"""

import tempfile
import warnings
from pathlib import Path

from ladder_core.datasets import load_dataset
from ladder_core.errors import HardeningError
from ladder_core.harm import check_model, load_checked_script
from tests.hostile.base import Hostile, Wall, wall_of
from tests.hostile.table import HOSTILE


def stopped_by(hostile: Hostile, directory: Path) -> tuple[str, str]:
    """The wall that stopped a file, and what it said."""
    path = directory / "upload"
    hostile.make(path, directory / "outside")
    if hostile.wall is Wall.LIMIT:
        return "", "needs the worker's limits"
    try:
        if hostile.of == "dataset":
            load_dataset(path, directory, seed=0)
        elif hostile.wall is Wall.IR:
            load_checked_script(path)
        else:
            check_model(path)
    except HardeningError as error:
        return wall_of(error) or "?", error.message
    return "NONE", "passed"


def main() -> None:
    warnings.simplefilter("ignore")
    print("| file | attack | must be stopped by | was stopped by | message |\n|---|---|---|---|---|")
    for name, hostile in HOSTILE.items():
        with tempfile.TemporaryDirectory(prefix="ladder-hostile-") as directory:
            wall, message = stopped_by(hostile, Path(directory))
        said = message.replace("|", "\\|")
        print(f"| {name} | {hostile.attack} | {hostile.wall} | {wall} | {said[:160]} |", flush=True)


if __name__ == "__main__":
    main()
