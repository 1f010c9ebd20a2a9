"""Clean against robust accuracy as one setting of the hardening varies: paper section 4, Figs. 8 and 9."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import nn

from ladder_core.counting import Tally
from ladder_core.datasets import Split
from ladder_core.errors import ConfigError
from ladder_core.evaluation.bound import BoundAttack, bind
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Ledger, OnStep
from ladder_core.evaluation.subjects import Subjects
from ladder_schema.config import EvaluationConfig
from ladder_schema.errors import ErrorCode
from ladder_schema.report import Accuracy, AttackName, TradeOff, TradeOffPoint

Harden = Callable[[float], nn.Module]
"""From a value of the setting to a model hardened with it, and with nothing else changed."""
Varied = Literal["examples", "rho"]
Hardening = Callable[[float, Callable[[float], None]], nn.Module]
"""From a value of the setting, and what to call with the share done, to a model hardened with it."""
Measure = Callable[[nn.Module], tuple[Accuracy, Accuracy]]
"""From a model to its clean and its robust accuracy, on the same images whichever model it is."""


def trade_off_values(config: EvaluationConfig) -> dict[Varied, tuple[float, ...]]:
    """Return the settings that are to be varied, each with its values."""
    asked: dict[Varied, tuple[float, ...]] = {
        "examples": config.trade_off_examples,
        "rho": config.trade_off_rho,
    }
    return {varied: values for varied, values in asked.items() if values}


def check_trade_offs(config: EvaluationConfig, training_images: int) -> None:
    """Check that there are as many training images as the trade-off wants to make examples of.

    Raises:
        ConfigError: There are not: two such values would be one and the same model.
    """
    beyond = [value for value in config.trade_off_examples if value > training_images]
    if beyond:
        raise ConfigError(
            ErrorCode.CONFIG_UNSUITABLE,
            f"evaluation.trade_off_examples holds {', '.join(map(str, beyond))}, but there are "
            f"{training_images} training images, and an example is made of each at most once: give at most "
            f"{training_images}",
        )


def clean_accuracy(model: nn.Module, split: Split, subjects: Subjects) -> Accuracy:
    """Return a model's accuracy on a split's own images."""
    tally = Tally(subjects.device)
    for _, images, labels in split.batches(subjects.batch_size, subjects.device):
        tally.add(predict(model, images) == labels)
    return tally.accuracy()


def robust_accuracy(attack: BoundAttack, model: nn.Module, split: Split, subjects: Subjects) -> Accuracy:
    """Return a model's accuracy on a split's images under a white-box attack."""
    tally = Tally(subjects.device)
    for positions, images, labels in split.batches(subjects.batch_size, subjects.device):
        stream = subjects.stream(f"trade-off-{attack.name}", int(positions[0]))
        success = attack.run(model, images, labels, stream).success
        tally.add((predict(model, images) == labels) & ~success)
    return tally.accuracy()


def measure_trade_off(
    varied: Literal["examples", "rho", "epsilon"],
    values: Sequence[float],
    harden: Harden,
    measure: Measure,
    *,
    attack: AttackName,
    known: Sequence[TradeOffPoint] = (),
    on_point: Callable[[TradeOffPoint], None],
) -> TradeOff:
    """Harden once for each value of a setting, each time from the original, and measure.

    One hardened model is held at a time.

    Args:
        varied: The setting: how many examples (Fig. 8), or how far they are moved (Fig. 9).
        values: Of the setting, at least 0, in any order; walked from the smallest.
        harden: Makes the model of a value.
        measure: Its accuracies.
        attack: Whose examples the robust accuracy is on.
        known: Points of an earlier attempt at the same trade-off; they are not measured again.
        on_point: Called with each point that is new, so that it can be kept; may raise to stop.

    Returns:
        The points, the smallest value first.

    Raises:
        ValueError: There is no value, or one comes twice.
    """
    if not values or len(set(values)) != len(values):
        raise ValueError(f"values of {varied} are {list(values)}: give at least one, and each once")
    points = {point.value: point for point in known}
    for value in sorted(values):
        if value in points:
            continue
        clean, robust = measure(harden(value))
        points[value] = TradeOffPoint(value=value, clean=clean, robust=robust)
        on_point(points[value])
    return TradeOff(varied=varied, attack=attack, points=tuple(points[value] for value in sorted(values)))


def measure_trade_offs(
    subjects: Subjects, ledger: Ledger, harden: Mapping[Varied, Hardening]
) -> tuple[TradeOff, ...]:
    """Vary each setting that was asked for; robust accuracy is under white-box PGD, as in the curve.

    Args:
        subjects: Images and bounds.
        ledger: Keeps each point.
        harden: Hardens with another value of a setting.
    """
    attack = bind("pgd", subjects.threat_model, subjects.config)
    whole = subjects.test.subset(subjects.choose(None))
    attacked = subjects.test.subset(subjects.choose(subjects.config.curve_samples))

    def measure(model: nn.Module) -> tuple[Accuracy, Accuracy]:
        return clean_accuracy(model, whole, subjects), robust_accuracy(attack, model, attacked, subjects)

    return tuple(
        _vary(varied, values, harden[varied], measure, ledger, attack.name)
        for varied, values in trade_off_values(subjects.config).items()
    )


def _vary(
    varied: Varied,
    values: Sequence[float],
    harden: Hardening,
    measure: Measure,
    ledger: Ledger,
    attack: AttackName,
) -> TradeOff:
    def points(
        known: Sequence[TradeOffPoint], keep: Callable[[TradeOffPoint], None], on_step: OnStep
    ) -> Sequence[TradeOffPoint]:
        done = len(known)

        def kept(point: TradeOffPoint) -> None:
            nonlocal done
            keep(point)
            done += 1

        def hardened(value: float) -> nn.Module:
            return harden(value, lambda share: on_step((done + share) / len(values)))

        return measure_trade_off(
            varied, values, hardened, measure, attack=attack, known=known, on_point=kept
        ).points

    found = ledger.results(f"trade-off-{varied}", TradeOffPoint, points)
    return TradeOff(varied=varied, attack=attack, points=found)
