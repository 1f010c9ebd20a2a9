"""The least perturbation that was found for each image: its distribution, before and after."""

from torch import Tensor

from ladder_core.evaluation.white_box import Verdicts
from ladder_schema.report import Distances, MinimalDistortion


def minimal_distortion(verdicts: Verdicts) -> MinimalDistortion:
    """Return the L2 distances at which a minimal attack broke the images that a model was right about."""

    def distances(model: int) -> Distances:
        right, success = verdicts.right[:, model], verdicts.success[:, model]
        found: Tensor = verdicts.l2[right & success, model]
        return Distances(broken=tuple(found.sort().values.tolist()), held=int((right & ~success).sum()))

    return MinimalDistortion(attack=verdicts.attack.name, norm="l2", before=distances(0), after=distances(1))
