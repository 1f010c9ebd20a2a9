"""Which attack runs on which images, and what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass

from ladder_core.checks import Effort
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.autoattack import bind_autoattack
from ladder_core.evaluation.bound import BoundAttack, bind
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.trade_off import trade_off_values


@dataclass(frozen=True)
class Plan:
    """What is run on which images.

    Attributes:
        subjects: Both models.
        attacks: Each with the positions (n,) of its images.
        autoattack: Likewise; None where it is off.
    """

    subjects: Subjects
    attacks: tuple[tuple[BoundAttack, Indices], ...]
    autoattack: tuple[BoundAttack, Indices] | None

    @classmethod
    def of(cls, subjects: Subjects) -> "Plan":
        """Return what the configuration asks for."""
        config, threat_model = subjects.config, subjects.threat_model
        attacks = [bind(name, threat_model, config) for name in config.attacks]
        chosen = [
            (attack, subjects.choose(config.costly_samples if attack.is_costly else None))
            for attack in attacks
        ]
        if config.autoattack == "off":
            return cls(subjects, tuple(chosen), None)
        bound = bind_autoattack(config.autoattack, threat_model)
        return cls(subjects, tuple(chosen), (bound, subjects.choose(config.autoattack_samples)))

    @property
    def replayed(self) -> list[tuple[BoundAttack, Indices]]:
        """Attacks whose examples are replayed."""
        return [*self.attacks, *([] if self.autoattack is None else [self.autoattack])]

    def costs(self, *, has_ladder: bool) -> Mapping[str, float]:
        """Return a rough number of passes for every measurement, for progress."""
        config, everything = self.subjects.config, len(self.subjects.test)
        costs = {
            "clean": 2.0 * everything,
            "calibration": 2.0 * everything,
            "checks": 400.0 * min(Effort.attacked, len(self.subjects.choose(None))),
        }
        for attack, positions in self.replayed:
            costs[attack.name] = 2.5 * attack.cost * len(positions)
            if "surrogate" in config.black_box:
                costs[f"surrogate-{attack.name}"] = 1.0 * attack.cost * len(positions)
                costs["surrogate"] = 3.0 * 128 * config.surrogate_steps
        if has_ladder:
            costs["ladder"] = 5.0 * len(self.subjects.choose(None))
        if config.curve_points:
            costs["curve"] = 2.0 * config.pgd_steps * len(self.subjects.choose(config.curve_samples))
        if config.corruptions:
            costs["corruptions"] = 200.0 * len(self.subjects.choose(config.corruption_samples))
        for varied, values in trade_off_values(config).items():
            costs[f"trade-off-{varied}"] = 10.0 * len(values) * len(self.subjects.train)
        return costs
