"""What counts as robust: exact counts on models whose answers are known."""

import pytest
import torch

from ladder_core.evaluation import bind
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import Verdicts, measure_attack, replayed_result, white_box_result
from tests.ladder_core.attacks.oracles import Linear, case
from tests.ladder_core.evaluation.bench import clean_of, ledger, subjects


def attacked(of: Subjects, name: str) -> Verdicts:
    attack = bind(name, of.threat_model, of.config)
    return measure_attack(attack, of, ledger(), of.choose(None), clean_of(of))


def transferred(found: Verdicts):
    return replayed_result(
        found.attack, "transfer", found.right, found.replayed, found.labels, trained_on=False
    ).outcome


def test_clean_predictions_are_of_every_image() -> None:
    model, images, labels, _ = case(0)
    flipped = labels.clone()
    flipped[:17] = 1 - flipped[:17]
    right = clean_of(subjects(model, model, images, flipped)) == flipped[:, None]
    assert right.sum(dim=0).tolist() == [183, 183]


@pytest.mark.parametrize(("name", "norm"), [("fgsm", "linf"), ("pgd", "linf"), ("fgsm", "l2")])
def test_white_box_counts_are_the_closed_form_ones(name: str, norm: str) -> None:
    """On a linear model exactly the samples within epsilon of the boundary, in the dual norm, fall."""
    model, images, labels, margins = case(5)
    epsilon = 0.006 if norm == "linf" else 0.025
    length = model.weight.abs().sum() if norm == "linf" else model.weight.norm()
    of = subjects(model, model, images, labels, epsilon=epsilon, norm=norm, pgd_steps=20)
    result = white_box_result(attacked(of, name), trained_on=False)
    expected = int((margins > epsilon * length).sum())
    assert 0 < expected < 200
    assert (result.outcome.both, result.outcome.neither) == (expected, 200 - expected)
    assert (result.attacked_before, result.broken_before) == (200, 200 - expected)


def test_an_image_wrong_from_the_start_is_never_robust() -> None:
    model, images, labels, _ = case(6)
    wrong = 1 - labels  # the attack pushes these images back over the boundary
    found = attacked(subjects(model, model, images, wrong, epsilon=0.3), "fgsm")
    result = white_box_result(found, trained_on=False)
    assert result.outcome.neither == transferred(found).neither == 200
    assert (result.attacked_before, result.broken_before) == (0, 0)


def test_replayed_examples_have_the_attacks_whole_strength() -> None:
    """A model a little more robust than the original must still face steps taken to the end."""
    original, images, labels, margins = case(7)
    hardened = Linear(7)
    epsilon = 0.006
    reach = epsilon * float(original.weight.detach().abs().sum())
    of = subjects(original, hardened, images, labels, epsilon=epsilon)
    attack = bind("pgd", of.threat_model, of.config)
    replayed = attack.replayed(original, images, labels, torch.Generator().manual_seed(0))
    moved = (original(replayed) - original(images)).detach()
    # Early exit would leave them just past the boundary; all the way is epsilon |w|_1.
    assert ((moved[:, 1] - moved[:, 0]).abs() > 0.99 * reach).all()
    left = int((margins > reach).sum())
    assert 0 < left < 200
    assert transferred(attacked(of, "pgd")).after.correct == left


def test_verdicts_do_not_depend_on_the_batch() -> None:
    model, images, labels, _ = case(9)
    found = [
        attacked(subjects(model, Linear(3), images, labels, pgd_steps=3, batch_size=size), "pgd")
        for size in (7, 200)
    ]
    for column in ("success", "within", "predicted", "queries", "replayed"):
        assert torch.equal(*(getattr(each, column) for each in found)), column
    torch.testing.assert_close(found[0].l2, found[1].l2, rtol=0, atol=1e-5)
