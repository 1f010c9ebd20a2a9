"""FGSM and PGD beside foolbox and torchattacks: from the same starts, are the same images broken?"""

from collections.abc import Iterator
from dataclasses import dataclass

import eagerpy
import foolbox
import torch
import torchattacks
from torch import Tensor, nn

from benchmarks.attacks.context import Context, Row, cpu_seconds
from ladder_core.attacks import Norm, fgsm, pgd, pgd_last_iterate

STEPS = 20
SAMPLES = 500


@dataclass(frozen=True)
class Case:
    """A network, the images it classifies correctly, and the radius (a tenth of it is a step)."""

    network: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    norm: Norm
    epsilon: float

    @property
    def setting(self) -> str:
        return f"{self.norm}, epsilon {self.epsilon:.3g}, n = {len(self.images)}"

    @torch.no_grad()
    def broken(self, attacked: Tensor) -> Tensor:
        return self.model(attacked).argmax(dim=1) != self.labels

    def row(self, name: str, setting: str, ours: Tensor, peer: str, theirs: Tensor) -> Row:
        """Compare verdicts (n,)."""
        differ = (ours != theirs).nonzero().flatten().tolist()
        return Row(
            name=name,
            network=self.network,
            setting=f"{self.setting}{setting}",
            ours=f"{int(ours.sum())} broken",
            peer=f"{peer}: {int(theirs.sum())}",
            verdict=f"{len(differ)} differ",
            passed=not differ,
            note=f"verdicts must be equal{f'; samples {differ}' if differ else ''}",
        )


def cases(context: Context) -> Iterator[Case]:
    for network, (model, images, labels) in context.networks.items():
        grey = images.shape[1] == 1
        with torch.no_grad():
            correct = model(images[:SAMPLES]).argmax(dim=1) == labels[:SAMPLES]
        kept = images[:SAMPLES][correct], labels[:SAMPLES][correct]
        yield Case(network, model, *kept, "linf", 0.1 if grey else 2 / 255)
        yield Case(network, model, *kept, "l2", 1.5 if grey else 0.25)


def run(context: Context) -> list[Row]:
    """Compare on every network in both norms."""
    rows = []
    for case in cases(context):
        rows.append(_fgsm_row(case))
        rows += [row for seed in context.seeds for row in _pgd_rows(case, seed)]
        rows += _speed_rows(case)
    return rows


def _fgsm_row(case: Case) -> Row:
    attacks = {"linf": foolbox.attacks.LinfFastGradientAttack, "l2": foolbox.attacks.L2FastGradientAttack}
    attack = attacks[case.norm](random_start=False)
    theirs = attack.run(_foolbox(case.model), case.images, case.labels, epsilon=case.epsilon)
    ours = fgsm(case.model, case.images, case.labels, epsilon=case.epsilon, norm=case.norm).success
    return case.row("FGSM", "", ours, "foolbox", case.broken(theirs))


def _pgd_rows(case: Case, seed: int) -> Iterator[Row]:
    """The last iterates' verdicts are the peers'; where they break an image, `pgd` has done so before."""
    start = _start(case, seed)
    ours = pgd_last_iterate(
        case.model, case.images, case.labels, epsilon=case.epsilon, steps=STEPS, step=case.epsilon / 10,
        generator=torch.Generator(), norm=case.norm, start=start,
    )  # fmt: skip
    setting, ours_broken = f", {STEPS} steps, seed {seed}", case.broken(ours)
    theirs = case.broken(_foolbox_pgd(case, start))
    yield case.row("PGD, last iterate", setting, ours_broken, "foolbox", theirs)
    if case.norm == "linf":
        torch.manual_seed(seed)
        theirs = case.broken(_torchattacks(case, random_start=True))
        yield case.row("PGD, last iterate", setting, ours_broken, "torchattacks", theirs)
    early = _pgd(case, start)
    missed = int((theirs & ~early).sum())
    yield Row(
        "PGD", case.network, case.setting + setting, f"{int(early.sum())} broken", f"{int(theirs.sum())}",
        f"{missed} missed", missed == 0, "any iterate counts: none that a peer breaks is missed",
    )  # fmt: skip


def _speed_rows(case: Case) -> Iterator[Row]:
    start = _start(case, 0)
    ours, of_foolbox, of_torchattacks = cpu_seconds(
        lambda: _pgd(case, start),
        lambda: case.broken(_foolbox_pgd(case, start)),
        lambda: case.broken(_torchattacks(case, random_start=False)),
    )
    for peer, seconds in (("foolbox", of_foolbox), ("torchattacks", of_torchattacks)):
        yield Row(
            "PGD, CPU time", case.network, f"{case.setting}, {STEPS} steps", f"{ours:.2f} s",
            f"{peer}: {seconds:.2f} s", f"{seconds / ours:.2f}x", seconds >= ours, "1.0x or more",
        )  # fmt: skip


def _start(case: Case, seed: int) -> Tensor:
    """Where torchattacks begins after ``manual_seed``; in L2 the images themselves."""
    if case.norm == "l2":
        return case.images
    torch.manual_seed(seed)
    noise = torch.empty_like(case.images).uniform_(-case.epsilon, case.epsilon)
    return (case.images + noise).clamp(0, 1)


def _pgd(case: Case, start: Tensor) -> Tensor:
    return pgd(
        case.model, case.images, case.labels, epsilon=case.epsilon, steps=STEPS, step=case.epsilon / 10,
        generator=torch.Generator(), norm=case.norm, start=start,
    ).success  # fmt: skip


def _foolbox(model: nn.Module) -> foolbox.PyTorchModel:
    return foolbox.PyTorchModel(model, bounds=(0, 1))


def _foolbox_pgd(case: Case, start: Tensor) -> Tensor:
    kinds = {
        "linf": foolbox.attacks.LinfProjectedGradientDescentAttack,
        "l2": foolbox.attacks.L2ProjectedGradientDescentAttack,
    }
    attack = kinds[case.norm](abs_stepsize=case.epsilon / 10, steps=STEPS, random_start=True)
    attack.get_random_start = lambda _images, _epsilon: eagerpy.astensor(start)
    attacked: Tensor = attack.run(_foolbox(case.model), case.images, case.labels, epsilon=case.epsilon)
    return attacked


def _torchattacks(case: Case, *, random_start: bool) -> Tensor:
    if case.norm == "linf":
        attack = torchattacks.PGD(case.model, case.epsilon, case.epsilon / 10, STEPS, random_start)
    else:
        attack = torchattacks.PGDL2(case.model, case.epsilon, case.epsilon / 10, STEPS, random_start)
    attacked: Tensor = attack(case.images, case.labels)
    return attacked
