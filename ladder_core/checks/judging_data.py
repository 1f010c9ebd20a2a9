"""Can the data carry the claim? Enough images, none trained on, and labels that are right."""

from ladder_core.checks.statistics import exceeds
from ladder_core.checks.values import Contradictions, Duplicates
from ladder_schema.report import SIGNIFICANCE, Check, Evidence, Paired, Status

SHARED, MOSTLY_SHARED = 0.005, 0.05
"""Shares of test images seen in training that are worth a warning, and that void the figures."""
NOISY, VERY_NOISY = 0.03, 0.10
"""Shares of contradicted labels: ten usual benchmarks have 3.3% wrong test labels on average.

Northcutt et al. 2021, https://arxiv.org/abs/2103.14749.
"""

_MOST_IMAGES = 20_000


def judge_sample_size(worst_case: Paired) -> Check:
    """Is the gain in worst-case robust accuracy larger than its uncertainty?"""
    gain, (low, high) = worst_case.difference, worst_case.difference_interval
    evidence = (
        Evidence(name="images", value=worst_case.total),
        Evidence(name="gain in worst-case accuracy", value=gain),
        Evidence(name="95% interval, low", value=low),
        Evidence(name="95% interval, high", value=high),
        Evidence(name="p-value (McNemar)", value=worst_case.p_value),
    )
    if gain <= 0:
        return Check(
            name="too_few_samples",
            of="hardened",
            status="pass",
            finding="No gain in robust accuracy was found, so none is claimed.",
            evidence=evidence,
        )
    status: Status = "warn"
    if worst_case.p_value >= SIGNIFICANCE:
        finding = (
            f"{worst_case.total} images do not tell the gain of {gain:.1%} in the worst case from none "
            f"(p = {worst_case.p_value:.2g}): none is claimed."
        )
    elif high - low > gain:
        finding = (
            f"There is a gain, but {worst_case.total} images do not tell how large it is: somewhere from "
            f"{low:.1%} to {high:.1%}."
        )
    else:
        status = "pass"
        finding = f"{worst_case.total} images are enough to tell the gain of {gain:.1%} from chance."
    return Check(
        name="too_few_samples",
        of="hardened",
        status=status,
        finding=finding,
        evidence=evidence,
        remedy=None if status == "pass" else _more_images(worst_case.total, gain, high - low),
    )


def _more_images(images: int, gain: float, width: float) -> str:
    """Say how many images would do; an interval shrinks with the root of their number."""
    needed = int(images * (width / gain) ** 2) + 1
    if needed > _MOST_IMAGES:
        return "So small a change takes more images than are usually had: take it for none."
    return f"With about {needed:,} test images the interval would be as narrow as the gain."


def judge_duplicates(found: Duplicates) -> Check:
    """Are the test images new to the model?"""
    evidence = (
        Evidence(name="test images looked up", value=found.tested),
        Evidence(name="training images searched", value=found.searched),
        Evidence(name="the same image in both", value=found.exact),
        Evidence(name="test images compared for near duplicates", value=found.compared),
        Evidence(name="nearly the same image in both", value=found.near),
    )
    status: Status = "pass"
    finding = "The test images are not among the training images."
    if found.exact or found.near:
        finding = (
            f"{found.exact} of {found.tested} test images are also training images, and {found.near} of "
            f"{found.compared} nearly are"
        )
        shares = ((found.exact, found.tested), (found.near, found.compared))
        if any(exceeds(count, total, MOSTLY_SHARED) for count, total in shares):
            status, finding = "fail", f"{finding}: every accuracy is too high."
        elif any(exceeds(count, total, SHARED) for count, total in shares):
            status, finding = "warn", f"{finding}: accuracies are somewhat too high."
        else:
            finding = f"{finding}: too few to matter."
    if status == "pass" and not found.given:
        status = "warn"
        finding = (
            "The upload did not say which images are for testing, so some were held out: the uploaded model "
            "may have been trained on them, and then its accuracies are too high."
        )
    return Check(
        name="validation_in_training",
        of="data",
        status=status,
        finding=finding,
        evidence=evidence,
        remedy=None if status == "pass" else "Upload test images that no model was trained on.",
    )


def judge_labels(found: Contradictions) -> Check:
    """Do two trained models confidently say that labels are wrong? Confident learning.

    Northcutt et al. 2021, https://arxiv.org/abs/1911.00068.
    """
    evidence = (
        Evidence(name="test labels", value=found.test),
        Evidence(name="test labels contradicted", value=found.test_contradicted),
        Evidence(name="training labels", value=found.train),
        Evidence(name="training labels contradicted", value=found.train_contradicted),
    )
    shares = ((found.train_contradicted, found.train), (found.test_contradicted, found.test))
    status: Status = "pass"
    finding = "The labels agree with what the models confidently say."
    counted = (
        f"Both models confidently contradict {found.test_contradicted} of {found.test} test labels and "
        f"{found.train_contradicted} of {found.train} training labels"
    )
    if any(exceeds(count, total, VERY_NOISY) for count, total in shares):
        status, finding = "fail", f"{counted}: many are likely wrong, or the models share a mistake."
    elif any(exceeds(count, total, NOISY) for count, total in shares):
        status, finding = "warn", f"{counted}: some are likely wrong, which lowers every accuracy."
    return Check(
        name="label_noise",
        of="data",
        status=status,
        finding=finding,
        evidence=evidence,
        remedy=None if status == "pass" else "Look at the contradicted images, and mend their labels.",
    )
