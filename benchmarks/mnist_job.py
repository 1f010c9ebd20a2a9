"""The paper's LeNet on MNIST through the whole service: post, harden, download, and the figures.

Exits with 1 where clean accuracy, the gain on LADDER examples or the generator's error miss their marks.

python -m benchmarks.mnist_job --data mnist.npz [--results DIRECTORY] [--config JSON]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ladder_client import Client
from ladder_local.stack import LocalStack
from ladder_schema.jobs import ArtifactName
from ladder_schema.report import Report

MEAN, STD = 0.1307, 0.3081
MAX_CLEAN_DROP, MIN_LADDER_GAIN, MAX_TEST_MSE = 0.006, 0.25, 0.0075
CONFIG = {
    "method": "ladder",
    "threat_model": {"epsilon": 0.3},
    "preprocessing": {"mean": [MEAN], "std": [STD]},
}


class LeNet(nn.Module):
    """The paper's MNIST network: conv 20 5x5, pool, conv 50 5x5, pool, fc 500, fc 10, log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        return functional.log_softmax(self.fc2(x), dim=1)


def train(data: Path, path: Path, epochs: int, seed: int = 0) -> None:
    """Train with Table 6's SGD (learning rate 0.01, momentum 0.5, batches of 64); save as TorchScript."""
    torch.manual_seed(seed)
    with np.load(data) as arrays:
        images = torch.from_numpy(arrays["x_train"])[:, None]
        labels = torch.from_numpy(arrays["y_train"]).long()
    model = LeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            pixels = (images[batch].float() / 255 - MEAN) / STD
            loss = functional.nll_loss(model(pixels), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.jit.script(model.eval()).save(str(path))


def harden(model: Path, data: Path, config: dict[str, object], results: Path) -> Report:
    """Start the service in a directory of its own, run one job through it, and stop it."""
    with (
        tempfile.TemporaryDirectory(prefix="ladder-mnist-") as directory,
        LocalStack(Path(directory)) as stack,
        Client(stack.api_url, stack.api_key) as client,
    ):
        job = client.wait(client.submit(model, data, config).id)
        files = client.download_all(job.id, results)
    return Report.model_validate_json(files[ArtifactName.REPORT].read_bytes())


def show(report: Report, seconds: float) -> None:
    """Print the figures as a Markdown table."""
    generator, examples = report.generator, report.examples
    if generator is None or examples is None:
        raise SystemExit("the configuration's method makes no LADDER examples: use method ladder")
    print(f"| MNIST, LeNet, {report.config.preset} preset, {seconds:.0f} s over HTTP | before | after |")
    print("|---|---|---|")
    measured = report.measurements
    rows = [("clean", measured.clean)]
    rows += [(f"{each.attack}, {each.setting.replace('_', '-')}", each.outcome) for each in measured.attacks]
    if measured.autoattack is not None:
        rows.append((f"AutoAttack, {measured.autoattack.version}", measured.autoattack.outcome))
    rows.append(("worst of the white-box attacks", measured.worst_case))
    for name, outcome in rows:
        print(f"| {name} (n = {outcome.total}) | {outcome.before.rate:.2%} | {outcome.after.rate:.2%} |")
    print(
        f"\nGenerator: MSE {generator.train_mse:.5f} train, {generator.test_mse:.5f} test; "
        f"{generator.reconstruction_accuracy.rate:.2%} of reconstructions classified correctly. "
        f"At rho {examples.rho}, {examples.latents_at_target or 0:.1%} of latents reached the "
        f"class they were moved to, {examples.images_fooling or 0:.1%} of images fooled the original."
    )
    stages = ", ".join(f"{stage} {taken:.0f}" for stage, taken in report.stage_seconds.items())
    print(f"\nSeconds by stage: {stages}.\n\n{report.verdict.headline}")


def misses(report: Report) -> list[str]:
    """Return what falls short: clean accuracy, accuracy on LADDER examples, the generator's error."""
    found: list[str] = []
    drop = -report.measurements.clean.difference
    if drop > MAX_CLEAN_DROP:
        found.append(f"clean accuracy fell by {drop:.2%}, more than {MAX_CLEAN_DROP:.2%}")
    ladder = [each.outcome for each in report.measurements.attacks if each.attack == "ladder"]
    gain = max((outcome.difference for outcome in ladder), default=0.0)
    if gain < MIN_LADDER_GAIN:
        found.append(f"accuracy on LADDER examples rose by {gain:.2%}, less than {MIN_LADDER_GAIN:.2%}")
    if report.generator is None or report.generator.test_mse > MAX_TEST_MSE:
        found.append(f"the generator's test MSE is not at most {MAX_TEST_MSE}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--model", type=Path, help="a TorchScript LeNet to use instead of training one")
    parser.add_argument("--epochs", type=int, default=8, help="epochs the LeNet is trained for")
    parser.add_argument("--config", type=json.loads, default={}, help="JSON laid over the configuration")
    parser.add_argument("--results", type=Path, default=Path("mnist-results"))
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    model = arguments.model
    if model is None:
        model = arguments.results / "lenet.pt"
        train(arguments.data, model, arguments.epochs)
    started = time.monotonic()
    report = harden(model, arguments.data, CONFIG | arguments.config, arguments.results)
    show(report, time.monotonic() - started)
    if missed := misses(report):
        raise SystemExit("Missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
