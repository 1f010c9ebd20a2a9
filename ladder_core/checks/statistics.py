"""When a difference between counts is more than chance: exact tests, and one level for all of them."""

from dataclasses import dataclass

from scipy.stats import binom

LEVEL = 0.01
"""Level of each test. A report makes some twenty checks, and of a sound model none should be flagged."""
MARGIN = 0.01
"""Share of images by which an attack has to be ahead before it matters."""
TOLERATED = 0.02
"""Share of images that may fall to the weaker attack alone: no two attacks find quite the same images."""


def exceeds(count: int, total: int, share: float) -> bool:
    """Return whether so many of a total measurably exceed a share: exact binomial test, one-sided."""
    return total > 0 and bool(binom.sf(count - 1, total, share) < LEVEL)


@dataclass(frozen=True)
class Contest:
    """Two attacks on one model: images that one breaks and the other does not.

    Attributes:
        challenger: The attack that should not win.
        reference: The attack that should.
        images: That both attacked.
        only_challenger: Broken by the challenger alone.
        only_reference: Broken by the reference alone.
        paired: Whether the verdicts were compared image by image.
        tolerated: Share of images that may fall to the challenger alone.
    """

    challenger: str
    reference: str
    images: int
    only_challenger: int
    only_reference: int
    paired: bool = True
    tolerated: float = TOLERATED

    @classmethod
    def least_favourable(
        cls,
        challenger: str,
        reference: str,
        *,
        images: int,
        broken_by_challenger: int,
        broken_by_reference: int,
    ) -> "Contest":
        """Make a contest of two totals whose pairing was not kept.

        Of all pairings the one is taken with the most images on which the attacks differ: the difference of
        the totals is least significant there, so what is found significant is so however they were paired.
        """
        shared = max(0, broken_by_challenger + broken_by_reference - images)
        return cls(
            challenger,
            reference,
            images,
            broken_by_challenger - shared,
            broken_by_reference - shared,
            paired=False,
        )

    @property
    def excess(self) -> float:
        """Share of images by which the challenger is ahead; negative where it is behind."""
        return (self.only_challenger - self.only_reference) / max(self.images, 1)

    @property
    def challenger_wins(self) -> bool:
        """Whether the challenger breaks measurably more, and by more than a margin.

        McNemar's exact test, one-sided: where the attacks differ, a fair coin would say which is right.
        """
        return self.excess > MARGIN and exceeds(
            self.only_challenger, self.only_challenger + self.only_reference, 0.5
        )

    @property
    def challenger_adds(self) -> bool:
        """Whether measurably more images than are tolerated fall to the challenger alone.

        Of totals whose pairing was not kept this cannot be said.
        """
        return self.paired and exceeds(self.only_challenger, self.images, self.tolerated)
