"""The paper's black-box protocol (section 4): one set of examples, replayed on every model.

Examples come from the original model (``transfer``; made where it is attacked itself), or from a
``surrogate`` that was trained independently of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ladder_core.datasets.base import Indices
from ladder_core.evaluation.bound import BoundAttack
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.ranks import average_ranks
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import both
from ladder_schema.report import AttackResult, AverageRank, Paired, Setting


def measure_replayed(
    attack: BoundAttack, source: nn.Module, subjects: Subjects, ledger: Ledger, positions: Indices
) -> Tensor:
    """Attack a model, and return what the original and the hardened model take the examples for: (n, 2).

    Args:
        attack: The bound attack.
        source: The model attacked, in evaluation mode.
        subjects: The models the examples are replayed on.
        ledger: Keeps what was measured.
        positions: (n,) of the images in the test split.
    """

    def measure(start: int, end: int) -> Columns:
        images, labels = subjects.test.batch(positions[start:end], subjects.device)
        stream = subjects.stream(f"surrogate-{attack.name}", start)
        replayed = attack.replayed(source, images, labels, stream)
        return {"predicted": both(predict(model, replayed) for model in subjects.models)}

    return ledger.columns(
        f"surrogate-{attack.name}",
        len(positions),
        {"predicted": Column(torch.int64)},
        measure,
        batch_size=subjects.batch_size,
    )["predicted"]


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
