"""Our attacks beside those of the libraries people use: python -m benchmarks.attacks --work DIR.

Needs ``mnist.npz``, ``cifar10.zip`` and the peers, two of which ask for requirements that cannot be had::

    pip install -e '.[bench]' && pip install --no-deps torchattacks adv-lib

Networks are trained once and kept in the work directory, as is every finished case: a run that was stopped
goes on. A case is done again only where its file was removed: do so after a change of code or machine.
The exit status is 1 where a limit is exceeded; limits.py has them.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.attacks.autoattack import Case, Outcome, compare, mcnemar
from benchmarks.attacks.context import Context
from benchmarks.attacks.limits import exceeded, speed
from benchmarks.attacks.networks import RECIPES, load_images, load_network
from ladder_core.attacks import Norm

MNIST_RADII = (0.05, 0.1, 0.2, 0.3)
CIFAR_RADII = (2 / 255, 4 / 255, 8 / 255)
L2_RADII = {"mnist": 1.5, "cifar10": 0.5}
COMPONENTS = ("apgd-ce", "apgd-t", "fab-t", "square")
COMPONENT_SAMPLES = 100
OTHERS = ("gradient", "minimal")
"""Modules whose ``run(context)`` answers with rows."""
PEERS = ("pyautoattack", "foolbox", "torchattacks", "adv_lib", "art")

HEADER = """\
# Attacks beside the official AutoAttack

`python -m benchmarks.attacks`: PyPI `pyautoattack` 0.2.0, torch {}, one thread of {}, CPU time.
{} of {} cases.

Robust accuracy is the median of the seeds, on all samples; calls are images that the model was asked about,
those of gradients among them; p is McNemar's exact, of the first seed's verdicts.

| attack | network | norm | radius | n | robust ours | official | p | calls ours | official \
| CPU s ours | official | ratio |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where networks and finished cases are kept")
    parser.add_argument("--mnist", type=Path, default=os.environ.get("LADDER_TEST_MNIST"))
    parser.add_argument("--cifar10", type=Path, default=os.environ.get("LADDER_TEST_CIFAR10"))
    parser.add_argument("--only", metavar="TEXT", default="", help="the cases whose name holds TEXT")
    parser.add_argument("--samples", type=int, default=500, help="test images of MNIST; of CIFAR-10 100")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/attacks.md"))
    options = parser.parse_args()
    for name in PEERS:
        if importlib.util.find_spec(name) is None:
            parser.error(f"{name} is not installed: see above for the two commands that install the peers")
    torch.set_num_threads(1)  # the peers' CPU time and ours, on equal terms
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in cases(options.samples) if options.only in str(case)]
    others = [name for name in OTHERS if options.only in name]
    if not chosen and not others:
        known = ", ".join([*OTHERS, *map(str, cases(options.samples))])
        parser.error(f"--only {options.only}: no case is called so; there are {known}")
    paths = {"mnist": options.mnist, "cifar10": options.cifar10}
    for dataset, path in paths.items():
        if path is None:
            parser.error(f"--{dataset}: give the path of the data, or set LADDER_TEST_{dataset.upper()}")
    for other in others:
        if not other_file(options.work, other).exists():
            run_others(options.work, other, paths, options.seeds)
    for case in chosen:
        if case_file(options.work, case).exists():
            continue
        dataset = RECIPES[case.network].dataset
        print(case, file=sys.stderr, flush=True)
        network = load_network(case.network, paths, options.work)
        images, labels = load_images(dataset, paths[dataset], options.work).test
        keep(options.work, case, compare(case, network, images, labels, list(range(options.seeds))))
    text, kept = report(options.work, cases(options.samples))
    options.results.write_text(text)
    sys.exit(not kept)


def cases(samples: int) -> list[Case]:
    """Every comparison, the cheap ones first."""
    found: list[Case] = []
    for network, recipe in RECIPES.items():
        mnist = recipe.dataset == "mnist"
        count = samples if mnist else min(samples, 100)
        radii = MNIST_RADII if mnist else CIFAR_RADII
        few = min(count, COMPONENT_SAMPLES)
        found += [Case("standard", network, "linf", radius, count) for radius in radii]
        norms: list[tuple[Norm, float]] = [("linf", radii[1]), ("l2", L2_RADII[recipe.dataset])]
        found += [Case(part, network, norm, radius, few) for norm, radius in norms for part in COMPONENTS]
    return sorted(found, key=lambda case: (case.attack == "standard", case.samples))


def case_file(work: Path, case: Case) -> Path:
    return work / (str(case).replace(" ", "_") + ".json")


def other_file(work: Path, name: str) -> Path:
    return work / f"{name}.json"


def run_others(work: Path, name: str, paths: dict[str, Path], seeds: int) -> None:
    """Run the comparisons of a module, on the networks that every attack breaks."""
    print(name, file=sys.stderr, flush=True)
    networks = {
        network: (
            load_network(network, paths, work),
            *load_images(RECIPES[network].dataset, paths[RECIPES[network].dataset], work).test,
        )
        for network in ("lenet", "resnet")
    }
    module = importlib.import_module(f"benchmarks.attacks.{name}")
    rows = module.run(Context(networks, tuple(range(seeds))))
    other_file(work, name).write_text(json.dumps([asdict(row) for row in rows]))


def other_tables(work: Path) -> tuple[list[str], bool]:
    rows = [
        row
        for name in OTHERS
        if other_file(work, name).exists()
        for row in json.loads(other_file(work, name).read_text())
    ]
    if not rows:
        return [], True
    kept = all(row["passed"] for row in rows)
    lines = ["", "## Gradient attacks and minimal ones", ""]
    lines += ["| attack | network | setting | ours | peer | verdict | limit kept | note |", "|---" * 8 + "|"]
    for row in rows:
        row["passed"] = "yes" if row["passed"] else "no"
        lines.append("| " + " | ".join(str(value) for value in row.values()) + " |")
    return lines, kept


def keep(work: Path, case: Case, outcome: Outcome) -> None:
    unfinished = case_file(work, case).with_suffix(".part")
    unfinished.write_text(json.dumps(outcome.as_json()))
    unfinished.replace(case_file(work, case))


def report(work: Path, wanted: list[Case]) -> tuple[str, bool]:
    """The tables, of every case that is finished, and whether all of them keep their limits."""
    finished = [
        (case, Outcome.from_json(json.loads(case_file(work, case).read_text())))
        for case in wanted
        if case_file(work, case).exists()
    ]
    lines = [HEADER.format(torch.__version__, processor(), len(finished), len(wanted))]
    lines += [table_row(case, outcome) for case, outcome in finished]
    lines += ["\n## Samples on which the two disagree\n"]
    listed = [
        f"- {case}, row {row}: broken by {seeds}"
        for case, outcome in finished
        for row, seeds in outcome.disagreements.items()
    ]
    lines += listed or ["None."]
    beyond = [f"- {case}: {what}" for case, outcome in finished for what in exceeded(case, outcome)]
    others, others_kept = other_tables(work)
    lines += ["\n## Beyond the limits\n", *(beyond or ["None."]), *others]
    return "\n".join(lines) + "\n", not beyond and others_kept


def table_row(case: Case, outcome: Outcome) -> str:
    sides = (outcome.ours, outcome.official)
    robust = [1 - statistics.median(len(broken) for broken in side.broken) / case.samples for side in sides]
    calls = [statistics.median(side.calls) for side in sides]
    seconds = [statistics.median(side.seconds) for side in sides]
    radius = f"{case.epsilon * 255:.0f}/255" if case.network.startswith("resnet") else f"{case.epsilon:g}"
    radius = f"{case.epsilon:g}" if case.norm == "l2" else radius
    cells = [
        case.attack, case.network, case.norm, radius, case.samples, *(f"{share:.1%}" for share in robust),
        f"{mcnemar(outcome):.2f}", *(f"{count:,.0f}" for count in calls),
        *(f"{time:.1f}" for time in seconds), f"{speed(outcome):.2f}",
    ]  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def processor() -> str:
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
