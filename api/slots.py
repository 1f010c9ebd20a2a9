"""How many lasting requests of a kind are served at a time, in all and for one owner."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from api.errors import Unavailable


class Slots:
    """A bounded number of requests at a time, of which one owner may have some.

    Args:
        what: What they are, in the plural, for whoever gets none.
        total: How many at a time.
        per_owner: How many of them may be one owner's.
    """

    def __init__(self, what: str, total: int, per_owner: int) -> None:
        self._what = what
        self._total = total
        self._per_owner = per_owner
        self._taken: Counter[UUID] = Counter()

    @contextmanager
    def taken(self, owner_id: UUID) -> Iterator[None]:
        """One slot.

        Raises:
            Unavailable: All slots, or all that the owner may have, are taken.
        """
        if self._taken[owner_id] >= self._per_owner:
            raise Unavailable(
                f"You have {self._per_owner} {self._what} under way, which is as many as one owner may have. "
                "Try again when one of them is done."
            )
        if self._taken.total() >= self._total:
            raise Unavailable(f"Too many {self._what} at once. Try again in a few seconds.")
        self._taken[owner_id] += 1
        try:
            yield
        finally:
            self._taken[owner_id] -= 1
            self._taken += Counter()  # forgets owners that have none
