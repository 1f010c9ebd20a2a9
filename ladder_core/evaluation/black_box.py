"""The paper's black-box protocol (section 4): one set of examples, replayed on every model.

Examples come from the original model (``transfer``; made where it is attacked itself), or from a
``surrogate`` that was trained independently of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from ladder_core.datasets.base import Indices
from ladder_core.evaluation.bound import BoundAttack
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.ranks import average_ranks
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.surrogate import begin_surrogate, train_surrogate
from ladder_core.evaluation.white_box import both
from ladder_core.seeding import scoped_seed
from ladder_schema.report import AttackResult, AverageRank, Paired, Setting

_BATCH_SIZE = 128


_COLUMNS = {"predicted": Column(torch.int64), "right": Column(torch.bool, ())}


@dataclass(frozen=True)
class Replayed:
    """What became of a surrogate's examples.

    Attributes:
        predicted: (n, 2) int64, what the original and the hardened model take each example for; on the CPU.
        surrogate_accuracy: The surrogate's own, on the images unattacked: a poor one's examples mean little.
    """

    predicted: Tensor
    surrogate_accuracy: float


def measure_surrogate(
    attacks: Sequence[tuple[BoundAttack, Indices]], subjects: Subjects, ledger: Ledger
) -> list[Replayed]:
    """Attack a surrogate, and replay the examples on both models.

    The surrogate is trained when the first of its examples is made, and kept until the last.

    Args:
        attacks: Each with the positions (n,) of its images in the test split.
        subjects: The models the examples are replayed on; the original's architecture is the surrogate's.
        ledger: Keeps what was measured.
    """

    @cache
    def surrogate() -> nn.Module:
        config, device = subjects.config, subjects.device
        with scoped_seed(subjects.seed, "surrogate", device):
            training = begin_surrogate(
                subjects.original,
                steps=config.surrogate_steps,
                learning_rate=config.surrogate_learning_rate,
                seed=subjects.seed,
                device=device,
            )
            ledger.train(
                "surrogate",
                training,
                lambda on_step: train_surrogate(
                    training, subjects.train, batch_size=_BATCH_SIZE, seed=subjects.seed, on_step=on_step
                ),
            )
        return training.module.eval()

    found = [_measure_replayed(each, surrogate, subjects, ledger, positions) for each, positions in attacks]
    ledger.release("surrogate")
    return found


def _measure_replayed(
    attack: BoundAttack,
    source: Callable[[], nn.Module],
    subjects: Subjects,
    ledger: Ledger,
    positions: Indices,
) -> Replayed:
    def measure(start: int, end: int) -> Columns:
        images, labels = subjects.test.batch(positions[start:end], subjects.device)
        stream = subjects.stream(f"surrogate-{attack.name}", start)
        replayed = attack.replayed(ledger.watched(source()), images, labels, stream)
        return {
            "predicted": both(predict(model, replayed) for model in subjects.models),
            "right": (predict(source(), images) == labels).cpu(),
        }

    name, count = f"surrogate-{attack.name}", len(positions)
    columns = ledger.columns(name, count, _COLUMNS, measure, batch_size=subjects.batch_size)
    return Replayed(columns["predicted"], float(columns["right"].double().mean()))


def rank_models(clean: Paired, results: Sequence[AttackResult], setting: Setting) -> AverageRank | None:
    """Return both models' average rank over clean accuracy and a setting's attacks; None where it has none.

    A model that was trained on an attack has no cell for it, and is not ranked there.
    """
    columns = [result for result in results if result.setting == setting]
    if not columns:
        return None
    before: dict[str, float | None] = {"clean": clean.before.rate}
    after: dict[str, float | None] = {"clean": clean.after.rate}
    for result in columns:
        before[result.attack] = result.outcome.before.rate
        after[result.attack] = None if result.trained_on else result.outcome.after.rate
    ranks = average_ranks({"before": before, "after": after})
    return AverageRank(setting=setting, columns=len(before), before=ranks["before"], after=ranks["after"])
