"""The relative step against its definition: rho = 1 is where the head is undecided."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder_core.perturb import nearest_targets, perturb, random_targets
from tests.ladder_core.test_boundary import blobs, fit


def problem(seed: int, dimension: int = 12, classes: int = 4, count: int = 64) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(classes, dimension, generator=stream), torch.randn(classes, generator=stream)
    latents = 3 * torch.randn(count, dimension, generator=stream)
    sources = (latents @ weight.T + bias).argmax(dim=1)
    targets = (sources + 1 + torch.randint(classes - 1, (count,), generator=stream)) % classes
    directions = torch.nn.functional.normalize(torch.randn(count, dimension, generator=stream), dim=1)
    return {
        "latents": latents, "sources": sources, "targets": targets, "directions": directions,
        "head_weight": weight, "head_bias": bias,
    }  # fmt: skip


def margins(problem: dict[str, torch.Tensor], latents: torch.Tensor) -> torch.Tensor:
    logits = latents @ problem["head_weight"].T + problem["head_bias"]
    rows = torch.arange(len(latents))
    return logits[rows, problem["sources"]] - logits[rows, problem["targets"]]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), rho=st.floats(0.1, 5))
def test_the_margin_shrinks_to_one_minus_rho_of_itself(seed: int, rho: float) -> None:
    given_ = problem(seed)
    moved = perturb(rho=torch.full((64,), rho), **given_)
    before, after = margins(given_, given_["latents"]), margins(given_, moved.latents)
    torch.testing.assert_close(
        after[moved.valid], (1 - rho) * before[moved.valid], rtol=1e-3, atol=2e-3 * float(before.abs().max())
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_steps_go_along_the_direction_and_forwards(seed: int) -> None:
    given_ = problem(seed)
    moved = perturb(rho=torch.ones(64), **given_)
    steps = ((moved.latents - given_["latents"]) * given_["directions"]).sum(dim=1)
    assert (steps[moved.valid] > 0).all()
    assert torch.equal(moved.latents[~moved.valid], given_["latents"][~moved.valid])


def test_a_boundary_behind_the_sample_is_skipped() -> None:
    given_ = problem(0)
    ahead = perturb(rho=torch.ones(64), **given_)
    behind = perturb(rho=torch.ones(64), **{**given_, "directions": -given_["directions"]})
    assert not (ahead.valid & behind.valid).any()
    assert (ahead.valid | behind.valid).all()


def test_misclassified_samples_are_skipped_and_told_apart() -> None:
    given_ = problem(0)
    wrong = {**given_, "sources": given_["targets"], "targets": given_["sources"]}
    moved = perturb(rho=torch.ones(64), **wrong)
    assert moved.misclassified.all()
    assert not moved.valid.any()


def test_targets_are_other_classes_that_have_a_boundary() -> None:
    latents, labels, _ = blobs(4, 9)
    boundaries = fit(latents, labels, 4, steps=2)
    targets = random_targets(labels, boundaries, torch.Generator().manual_seed(0))
    assert (targets != labels).all()
    assert {(int(s), int(t)) for s, t in zip(labels, targets, strict=True)} == {
        (s, t) for s in range(4) for t in range(4) if s != t
    }


def test_the_nearest_target_has_the_largest_other_logit() -> None:
    latents, labels, _ = blobs(4, 9)
    boundaries = fit(latents, labels, 4, steps=2)
    logits = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0))
    targets = nearest_targets(logits, labels, boundaries)
    expected = logits.clone()
    expected[torch.arange(len(labels)), labels] = -torch.inf
    assert torch.equal(targets, expected.argmax(dim=1))
