"""How long a body may be, and how slowly it may come."""

import time
from collections.abc import AsyncGenerator, AsyncIterator

import anyio

from api.errors import TooLarge, UploadTimeout


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
