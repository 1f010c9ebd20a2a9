"""The attacks of an evaluation, each with its parameters bound: a table, a row an attack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ladder_core.attacks import (
    AttackResult,
    cw,
    deepfool,
    di_fgsm,
    fgsm,
    jsma,
    pgd,
    pgd_last_iterate,
    square,
)
from ladder_core.attacks.pgd import step_size
from ladder_schema.config import AttackChoice, EvaluationConfig, ThreatModel
from ladder_schema.report import AttackName

Parameters = dict[str, float | int | str]
Attack = Callable[[nn.Module, Tensor, Tensor, torch.Generator], AttackResult]
"""From model, images (B, C, H, W), labels (B,) and the stream of a key a sample."""
Replay = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class BoundAttack:
    """An attack with its parameters bound.

    Attributes:
        name: As in the report.
        parameters: For the report.
        run: White-box.
        cost: Rough number of passes an image takes.
        replay: Makes the images to replay on other models where those of ``run`` would not do: an attack that
            stops where its own model just gives in would spare the others.
        is_gradient: Whether it follows the gradient.
        is_bounded: Whether all it makes lies within the threat model; of another attack only what does counts
            in the worst case.
        is_minimal: Whether it looks for the least distance, so that distances are worth telling.
        is_costly: Whether it attacks ``costly_samples`` images only.
    """

    name: AttackName
    parameters: Parameters
    run: Attack
    cost: float
    replay: Replay | None = None
    is_gradient: bool = False
    is_bounded: bool = False
    is_minimal: bool = False
    is_costly: bool = False

    def replayed(self, model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> Tensor:
        """Attack a model, and return the images (B, C, H, W) to replay on others."""
        if self.replay is None:
            return self.run(model, images, labels, stream).images
        return self.replay(model, images, labels, stream)


def bind(name: AttackChoice, threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:
    """Return an attack in the threat model, with the evaluation's parameters."""
    return _BINDERS[name](threat_model, config)


def _fgsm(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:  # noqa: ARG001 - as the others
    radius = _radius(threat_model)

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:  # noqa: ARG001
        return fgsm(model, images, labels, epsilon=threat_model.epsilon, norm=threat_model.norm)

    return BoundAttack("fgsm", radius, run, cost=2, is_gradient=True, is_bounded=True)


def _pgd(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:
    epsilon, norm, steps = threat_model.epsilon, threat_model.norm, config.pgd_steps
    step = step_size(epsilon, steps)

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:
        return pgd(
            model,
            images,
            labels,
            epsilon=epsilon,
            norm=norm,
            steps=steps,
            step=step,
            restarts=config.pgd_restarts,
            generator=stream,
        )

    def replay(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> Tensor:
        return pgd_last_iterate(
            model, images, labels, epsilon=epsilon, norm=norm, steps=steps, step=step, generator=stream
        )

    return BoundAttack(
        "pgd",
        {
            **_radius(threat_model),
            "steps": steps,
            "step": step,
            "restarts": config.pgd_restarts,
            "loss": "ce",
        },
        run,
        cost=2 * steps * config.pgd_restarts,
        replay=replay,
        is_gradient=True,
        is_bounded=True,
    )


def _di_fgsm(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:
    epsilon, norm, steps = threat_model.epsilon, threat_model.norm, config.pgd_steps

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:
        return di_fgsm(model, images, labels, epsilon=epsilon, norm=norm, steps=steps, generator=stream)

    parameters: Parameters = {**_radius(threat_model), "steps": steps, "momentum": 1.0, "probability": 0.5}
    return BoundAttack("di_fgsm", parameters, run, cost=2 * steps, is_gradient=True, is_bounded=True)


def _cw(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:  # noqa: ARG001 - as the others
    steps, iterations = 9, 300

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:  # noqa: ARG001
        return cw(model, images, labels, search_steps=steps, iterations=iterations)

    return BoundAttack(
        "cw",
        {"norm": "l2", "search_steps": steps, "iterations": iterations, "confidence": 0},
        run,
        cost=2 * steps * iterations,
        is_minimal=True,
        is_costly=True,
    )


def _deepfool(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:  # noqa: ARG001
    iterations, top_k = 50, 10

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:  # noqa: ARG001
        return deepfool(model, images, labels, iterations=iterations, top_k=top_k)

    parameters: Parameters = {"norm": "l2", "iterations": iterations, "top_k": top_k, "overshoot": 0.02}
    return BoundAttack("deepfool", parameters, run, cost=5 * top_k, is_minimal=True, is_costly=True)


def _jsma(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:  # noqa: ARG001
    theta, gamma = 1.0, 0.1

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:  # noqa: ARG001
        return jsma(model, images, labels, theta=theta, gamma=gamma)

    return BoundAttack("jsma", {"theta": theta, "gamma": gamma}, run, cost=500, is_costly=True)


def _square(threat_model: ThreatModel, config: EvaluationConfig) -> BoundAttack:  # noqa: ARG001
    epsilon, norm, queries = threat_model.epsilon, threat_model.norm, 5_000

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:
        return square(model, images, labels, epsilon=epsilon, norm=norm, iterations=queries, generator=stream)

    parameters: Parameters = {**_radius(threat_model), "queries": queries, "restarts": 1}
    return BoundAttack("square", parameters, run, cost=queries, is_bounded=True, is_costly=True)


def _radius(threat_model: ThreatModel) -> Parameters:
    return {"norm": threat_model.norm, "epsilon": threat_model.epsilon}


_BINDERS: Mapping[AttackChoice, Callable[[ThreatModel, EvaluationConfig], BoundAttack]] = {
    "fgsm": _fgsm,
    "pgd": _pgd,
    "di_fgsm": _di_fgsm,
    "cw": _cw,
    "deepfool": _deepfool,
    "jsma": _jsma,
    "square": _square,
}
