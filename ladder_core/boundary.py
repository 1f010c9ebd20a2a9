"""The attention SVM of each class pair: paper 3.1.1 and Eq. 2.

For a latent z the attention is ``a = tanh(conv(z))``, ``beta = softmax(a)``; a linear SVM separates the two
classes on ``beta * z``. Over a vector, a 1x1 convolution from N channels to N is a full linear map. All pairs
are trained at once as one batched problem.

The paper's beta sums to 1; here it is normalised to mean 1 (that is, multiplied by N), which leaves every
direction as it was and keeps ``beta * z`` on the scale of z.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ladder_core.datasets.base import Indices
from ladder_core.pool import Pool
from ladder_core.records import Record, RecordError, Stored
from ladder_core.seeding import torch_stream
from ladder_schema.config import BoundaryConfig

MAX_FULL_DIMENSION = 512
LOW_RANK = 64
# Pairs trained together are chosen so that parameters, their gradients, Adam's moments and activations fit.
_CHUNK_BYTES = 1 << 30


@dataclass(frozen=True)
class Boundaries:
    """Attention SVMs of P class pairs over latents of D elements.

    Attributes:
        pairs: (P, 2) int64, the lower class first.
        index: (K, K) int64, the row of a pair for either order of its classes; -1 where none was built.
        scale: Latents are divided by this number before anything else.
        maps: The 1x1 convolution as one (P, D, D) map, or as (P, D, R) and (P, R, D) where D is large.
        bias: (P, D), the convolution's bias.
        normal: (P, D), the SVM's weight; it points towards the pair's second class.
        offset: (P,), the SVM's bias.
        held_out_accuracy: (P,), on latents the SVM was not trained on, the mean of both classes' shares; not
            a number where there were none.
    """

    pairs: Tensor
    index: Tensor
    scale: float
    maps: tuple[Tensor, ...]
    bias: Tensor
    normal: Tensor
    offset: Tensor
    held_out_accuracy: Tensor

    def attention(self, latents: Tensor, pair: int) -> Tensor:
        """Return beta (B, D), of mean 1 in each row, of latents (B, D) for one pair (Eq. 2)."""
        return _attention(
            latents[None] / self.scale, [m[pair : pair + 1] for m in self.maps], self.bias[pair, None]
        )[0]

    def attended(self, latents: Tensor, pair: int) -> Tensor:
        """Return ``beta * z`` (B, D), scaled: what a pair's SVM is linear in (Eq. 2)."""
        return self.attention(latents, pair) * (latents / self.scale)

    def directions(self, latents: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        """Return the unit vectors along ``beta * d`` that lead from the source's side to the target's.

        Args:
            latents: (B, D).
            sources: (B,) class of each latent.
            targets: (B,) class to move towards; different from the source.

        Returns:
            (B, D) of unit length; rows whose pair was not built are zero.
        """
        rows = self.index[sources, targets]
        # One sort, one wait for the device, then each pair's samples lie together.
        order = torch.argsort(rows, stable=True)
        built, counts = torch.unique_consecutive(rows[order], return_counts=True)
        directions = torch.zeros_like(latents)
        for row, members in zip(built.tolist(), torch.split(order, counts.tolist()), strict=True):
            if row >= 0:
                directions[members] = self.attention(latents[members], row) * self.normal[row]
        towards_second = (self.pairs[rows.clamp_min(0), 1] == targets)[:, None]
        directions = torch.where(towards_second, directions, -directions)
        return torch.nn.functional.normalize(directions, dim=1)

    def record(self) -> Record:
        """Return what a checkpoint keeps."""
        tensors = {f"maps.{number}": matrix for number, matrix in enumerate(self.maps)}
        tensors |= {name: getattr(self, name) for name in ("pairs", "bias", "normal", "offset")}
        tensors["held_out_accuracy"] = self.held_out_accuracy
        tensors["scale"] = torch.tensor(self.scale, dtype=torch.float64)
        return Record({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})

    @classmethod
    def read(
        cls, stored: Stored, pairs: Tensor, *, dimension: int, classes: int, device: torch.device
    ) -> "Boundaries":
        """Take the boundaries of certain pairs over latents of D elements from a checkpoint.

        Raises:
            RecordError: The checkpoint has no such boundaries.
        """
        count = len(pairs)
        if not torch.equal(stored.tensor("pairs", (count, 2), torch.int64), pairs):
            raise RecordError("it has the boundaries of other pairs")
        scale = stored.tensor("scale", (), torch.float64).item()
        if not 0 < scale < math.inf:
            raise RecordError(f"the latents' scale is {scale}")
        shapes = enumerate(_map_shapes(dimension))
        return cls(
            pairs=pairs.to(device),
            index=_index(pairs, classes).to(device),
            scale=scale,
            maps=tuple(stored.tensor(f"maps.{n}", (count, *shape)).to(device) for n, shape in shapes),
            bias=stored.tensor("bias", (count, dimension)).to(device),
            normal=stored.tensor("normal", (count, dimension)).to(device),
            offset=stored.tensor("offset", (count,)).to(device),
            held_out_accuracy=stored.tensor("held_out_accuracy", (count,)).to(device),
        )


def _attention(latents: Tensor, maps: list[Tensor], bias: Tensor) -> Tensor:
    """Eq. 2 for a batch of pairs: latents (P, B, D) scaled, bias (P, 1, D); mean-one beta (P, B, D)."""
    hidden = latents
    for matrix in maps:
        hidden = hidden @ matrix
    return torch.softmax(torch.tanh(hidden + bias), dim=-1) * latents.shape[-1]


def choose_pairs(present: Indices, confusion: Tensor, max_pairs: int) -> Tensor:
    """Return the (P, 2) class pairs to build: all of them, or those confused most.

    Args:
        present: Sorted classes that have samples; others have no boundary.
        confusion: (K, K) mean softmax weight the model gives class j on samples of class i.
        max_pairs: P at most, unless every class's most confused other class asks for more.
    """
    classes = torch.from_numpy(present)
    pairs = torch.combinations(classes, 2)
    if len(pairs) <= max_pairs:
        return pairs
    affinity = torch.full_like(confusion, -1.0)
    affinity[classes[:, None], classes] = (confusion + confusion.T)[classes[:, None], classes]
    affinity.fill_diagonal_(-1.0)
    nearest = torch.stack([classes, affinity[classes].argmax(dim=1)], dim=1).sort(dim=1).values
    needed = torch.zeros_like(affinity, dtype=torch.bool)
    needed[nearest[:, 0], nearest[:, 1]] = True
    affinity[needed] += 2.0
    score = affinity[pairs[:, 0], pairs[:, 1]]
    return pairs[score.topk(max(max_pairs, int(needed.sum()))).indices.sort().values]


def fit_boundaries(
    pool: Pool,
    pairs: Tensor,
    config: BoundaryConfig,
    *,
    seed: int,
    on_step: Callable[[float], None] = lambda _: None,
) -> Boundaries:
    """Train the attention and the SVM of every pair together (3.1.1).

    Args:
        pool: Latents of each class.
        pairs: (P, 2) int64 class pairs.
        config: Optimiser settings.
        seed: Of the initial weights, which each pair draws from a stream of its own.
        on_step: Called after each optimiser step with the share done; may raise to stop.
    """
    device, (classes, size, dimension) = pool.samples.device, pool.samples.shape
    parts = torch.split(pairs, _pairs_per_chunk(dimension, size))
    fitted: list[_Fitted] = []
    for part in parts:

        def on_chunk(done: float, finished: int = len(fitted)) -> None:
            on_step((finished + done) / len(parts))

        fitted.append(_fit_chunk(pool, part, config, seed, on_chunk))
    return Boundaries(
        pairs=pairs.to(device),
        index=_index(pairs, classes).to(device),
        scale=pool.scale,
        maps=tuple(torch.cat(chunks) for chunks in zip(*(f.maps for f in fitted), strict=True)),
        bias=torch.cat([f.bias for f in fitted]).squeeze(1),
        normal=torch.cat([f.normal for f in fitted]).squeeze(2),
        offset=torch.cat([f.offset for f in fitted]).flatten(),
        held_out_accuracy=torch.cat([f.accuracy for f in fitted]),
    )


def _index(pairs: Tensor, classes: int) -> Tensor:
    """Return the (K, K) row of each pair for either order of its classes; -1 where there is none."""
    index = torch.full((classes, classes), -1, dtype=torch.int64)
    index[pairs[:, 0], pairs[:, 1]] = index[pairs[:, 1], pairs[:, 0]] = torch.arange(len(pairs))
    return index


@dataclass(frozen=True)
class _Fitted:
    maps: list[Tensor]
    bias: Tensor
    normal: Tensor
    offset: Tensor
    accuracy: Tensor


def _pairs_per_chunk(dimension: int, per_class: int) -> int:
    width = 2 * dimension * LOW_RANK if dimension > MAX_FULL_DIMENSION else dimension**2
    floats = 4 * width + 8 * 2 * per_class * dimension
    return max(1, _CHUNK_BYTES // (4 * floats))


def _map_shapes(dimension: int) -> list[tuple[int, int]]:
    """Return the shapes of a pair's convolution over latents of D elements: of low rank where D is large."""
    ranks = [dimension, LOW_RANK, dimension] if dimension > MAX_FULL_DIMENSION else [dimension, dimension]
    return list(pairwise(ranks))


def _initial_maps(pairs: Tensor, shapes: Sequence[tuple[int, int]], seed: int) -> list[Tensor]:
    """Draw each pair's convolution as torch's linear layers do, from a stream of the pair's own."""
    maps = [torch.empty(len(pairs), *shape) for shape in shapes]
    for row, (first, second) in enumerate(pairs.tolist()):
        stream = torch_stream(seed, f"boundary-{first}-{second}")
        for matrix in maps:
            bound = 1 / math.sqrt(matrix.shape[1])
            matrix[row].uniform_(-bound, bound, generator=stream)
    return maps


def _fit_chunk(
    pool: Pool, pairs: Tensor, config: BoundaryConfig, seed: int, on_step: Callable[[float], None]
) -> _Fitted:
    """Train the attention and the SVM of a chunk's pairs, each its own problem, in one batch."""
    count, (_, size, dimension), device = len(pairs), pool.samples.shape, pool.samples.device
    samples = pool.samples[pairs].flatten(1, 2)
    test = pool.held_out[pairs]
    train = pool.exists[pairs] & ~test
    # Each class has half the weight, however few its samples.
    weight = (0.5 * train / train.sum(dim=2, keepdim=True).clamp_min(1)).flatten(1)
    sides = torch.tensor([-1.0, 1.0], device=device).repeat_interleave(size)[None]

    maps = [m.to(device).requires_grad_() for m in _initial_maps(pairs, _map_shapes(dimension), seed)]
    # From zero the normal is made of the samples alone; a random start would be left over in every step.
    bias, normal, offset = (
        torch.zeros(shape, device=device, requires_grad=True)
        for shape in ((count, 1, dimension), (count, dimension, 1), (count, 1))
    )
    optimiser = torch.optim.Adam([*maps, bias, normal, offset], lr=config.learning_rate)

    def scores() -> Tensor:
        attended = _attention(samples, maps, bias) * samples
        return (attended @ normal).squeeze(2) + offset

    with torch.enable_grad():
        for step in range(config.steps):
            hinge = (torch.relu(1 - sides * scores()) * weight).sum(dim=1)
            # A sum over pairs keeps each pair's problem its own: no pair's gradient depends on their number.
            loss = (hinge + config.weight_decay * normal.square().sum(dim=(1, 2))).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            on_step((step + 1) / config.steps)
    with torch.no_grad():
        correct = ((scores() * sides) > 0).reshape(test.shape) & test
        # The mean over the classes that have held-out samples; not a number where neither has.
        accuracy = (correct.sum(dim=2) / test.sum(dim=2)).nanmean(dim=1)
    return _Fitted([m.detach() for m in maps], bias.detach(), normal.detach(), offset.detach(), accuracy)
