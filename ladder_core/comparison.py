"""Plain scikit-learn beside the method: LinearSVC for the boundaries, PCA for a look at the latents."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.nn import functional

from ladder_core.boundary import Boundaries
from ladder_core.pool import Pool
from ladder_schema.report import LatentMap, LinearSvcSummary

MAX_PAIRS = 45
MAP_SAMPLES = 500


def compare_with_linear_svc(boundaries: Boundaries, pool: Pool, seed: int) -> LinearSvcSummary | None:
    """Fit a LinearSVC without attention on the samples each attention SVM was fitted on.

    Args:
        boundaries: The attention SVMs.
        pool: The samples they were fitted and judged on.
        seed: Of the solver.

    Returns:
        Accuracy on the same held-out samples, and how alike the normals are; None where no pair can be
        compared, having no held-out sample of both classes.
    """
    accuracies: list[float] = []
    cosines: list[float] = []
    for row, pair in enumerate(boundaries.pairs[:MAX_PAIRS].tolist()):
        samples, sides, held_out = pool.of_pair(pair)
        if len(np.unique(sides[~held_out])) < 2 or len(np.unique(sides[held_out])) < 2:
            continue
        svc = LinearSVC(random_state=seed).fit(samples[~held_out], sides[~held_out])
        right = svc.predict(samples[held_out]) == sides[held_out]
        accuracies.append(float(np.mean([right[sides[held_out] == side].mean() for side in (-1, 1)])))
        normal = torch.from_numpy(svc.coef_[0]).float()
        cosines.append(functional.cosine_similarity(normal, boundaries.normal[row].cpu(), dim=0).item())
    if not accuracies:
        return None
    return LinearSvcSummary(
        pairs=len(accuracies),
        held_out_accuracy_mean=float(np.mean(accuracies)),
        cosine_mean=float(np.clip(np.mean(cosines), -1, 1)),
    )


def map_latents(latents: Tensor, labels: npt.NDArray[np.int64]) -> LatentMap | None:
    """Project latents (n, D) on their two principal components; None where there are not two."""
    if min(latents.shape) < 2:
        return None
    pca = PCA(n_components=2, svd_solver="full")
    points = pca.fit_transform(latents.double().cpu().numpy())
    return LatentMap(
        first=tuple(points[:, 0].tolist()),
        second=tuple(points[:, 1].tolist()),
        labels=tuple(labels.tolist()),
        explained_variance=tuple(np.nan_to_num(pca.explained_variance_ratio_).clip(0, 1).tolist()),
    )
