"""How many uploads are received at a time, how long a body may be, and how slowly it may come."""

import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import UUID

import anyio

from api.errors import TooLarge, Unavailable, UploadTimeout


class UploadSlots:
    """A bounded number of uploads at a time, of which one owner may have some.

    Args:
        total: How many at a time.
        per_owner: How many of them may be one owner's.
    """

    def __init__(self, total: int, per_owner: int) -> None:
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
                f"You have {self._per_owner} uploads under way, which is as many as one owner may have. "
                "Try again when one of them is done."
            )
        if self._taken.total() >= self._total:
            raise Unavailable("Too many uploads at once. Try again in a few seconds.")
        self._taken[owner_id] += 1
        try:
            yield
        finally:
            self._taken[owner_id] -= 1
            self._taken += Counter()  # forgets owners that have none


async def bounded(
    body: AsyncIterator[bytes],
    *,
    max_bytes: int,
    idle_seconds: float,
    min_bytes_per_second: int,
    max_seconds: float,
) -> AsyncGenerator[bytes]:
    """A body, as long as it keeps coming and does not grow too long.

    For its pace only the time spent waiting for the caller counts, not what we need for what it sent.

    Args:
        body: Its bytes as they arrive.
        max_bytes: How many there may be.
        idle_seconds: How long nothing may come, and how long a slow start may last.
        min_bytes_per_second: How much has to come on average after that.
        max_seconds: How long all of it may take.

    Raises:
        TooLarge: More bytes came than are accepted.
        UploadTimeout: The body stalled, or came too slowly.
    """
    received, waited, ends_at = 0, 0.0, time.monotonic() + max_seconds
    while True:
        began = time.monotonic()
        patience = {
            f"Nothing arrived for {idle_seconds:g} seconds": idle_seconds,
            f"Less than {min_bytes_per_second} bytes a second arrived": idle_seconds
            + received / min_bytes_per_second
            - waited,
            f"It took longer than {max_seconds:g} seconds": ends_at - began,
        }
        what = min(patience, key=patience.__getitem__)
        try:
            with anyio.fail_after(patience[what]):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadTimeout(f"{what}. Send the request again.") from None
        waited += time.monotonic() - began
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"The body is longer than the {max_bytes} bytes that all its parts may have.")
        yield chunk
