"""The whole service in one go: start it, post a classifier, watch it being hardened, read the report.

python examples/demo.py [--results DIRECTORY]
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import digits
from rich.console import Console
from rich.table import Table

from ladder_client import Client, ClientError
from ladder_client.live import LiveProgress
from ladder_local.errors import LocalStackError
from ladder_local.stack import LocalStack
from ladder_schema.jobs import ArtifactName
from ladder_schema.report import Accuracy, Report

CONFIG = {"method": "ladder", "preset": "quick", "threat_model": {"epsilon": 0.1}}
SOURCES = {
    "white_box": "the same model",
    "transfer": "the original",
    "surrogate": "another model",
    "fixed": "the original's latents",
}
console = Console(highlight=False, markup=False)  # what is printed may hold brackets of its own


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Start the service, harden a digit classifier, show the result."
    )
    parser.add_argument("--results", type=Path, default=Path("demo-results"), help="where the results go")
    results: Path = parser.parse_args().results
    # For images this small, threads cost more than they bring; the workers inherit it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    directory = Path(tempfile.mkdtemp(prefix="ladder-demo-"))
    try:
        run(directory, results)
    except (ClientError, LocalStackError) as error:
        console.print(str(error), style="red", soft_wrap=True)
        console.print(f"The logs are in {directory}/logs.", soft_wrap=True)
        return 1
    shutil.rmtree(directory)
    return 0


def run(directory: Path, results: Path) -> None:
    console.print("Starting Postgres, Valkey, SeaweedFS, the API and the workers ...")
    with LocalStack(directory) as stack, Client(stack.api_url, stack.api_key) as client:
        console.print(
            f"The service is up at {stack.api_url}. Training a digit classifier, as its user would ..."
        )
        model, dataset = digits.make(stack.directory.path)
        job = client.submit(model, dataset, CONFIG)
        console.print(f"Posted {model.name} and {dataset.name} as job {job.id}:")
        with LiveProgress(console) as live:
            client.wait(job.id, on_update=live.show)
        files = client.download_all(job.id, results)
        console.print("Stopping the service ...")
    show(Report.model_validate_json(files[ArtifactName.REPORT].read_text()), files)


def show(report: Report, files: dict[ArtifactName, Path]) -> None:
    table = Table("accuracy on", "attack made against", "before", "after", title="Before and after hardening")
    measured = report.measurements
    attacked = [
        (f"{each.attack.upper()} examples", SOURCES[each.setting], each.outcome) for each in measured.attacks
    ]
    worst = ("the worst of them", SOURCES["white_box"], measured.worst_case)
    rows = [("clean images", "", measured.clean), *attacked, worst]
    for name, source, outcome in rows:
        table.add_row(name, source, percent(outcome.before), percent(outcome.after))
    console.print(table)
    console.print(report.verdict.headline)
    for name, path in files.items():
        console.print(f"  {name:<12} {path}", soft_wrap=True)
    console.print(f"Open the report: {files[ArtifactName.REPORT_HTML].resolve().as_uri()}", soft_wrap=True)


def percent(accuracy: Accuracy) -> str:
    return f"{accuracy.rate:.1%}"


if __name__ == "__main__":
    sys.exit(main())
