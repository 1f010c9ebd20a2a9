"""How long a body may be, and how slowly it may come."""

import time
from collections.abc import AsyncGenerator, AsyncIterator

import anyio

from api.errors import TooLarge, UploadTimeout


async def bounded(
    body: AsyncIterator[bytes], *, max_bytes: int, idle_seconds: float, min_bytes_per_second: int
) -> AsyncGenerator[bytes]:
    """A body, as long as it keeps coming and does not grow too long.

    Only the time spent waiting for the caller counts, not what we need for what it sent.

    Args:
        body: Its bytes as they arrive.
        max_bytes: How many there may be.
        idle_seconds: How long nothing may come, and how long a slow start may last.
        min_bytes_per_second: How much has to come on average after that.

    Raises:
        TooLarge: More bytes came than are accepted.
        UploadTimeout: The body stalled, or came too slowly.
    """
    received, waited = 0, 0.0
    while True:
        allowed = idle_seconds + received / min_bytes_per_second - waited
        began = time.monotonic()
        try:
            with anyio.fail_after(min(idle_seconds, allowed)):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            slow = f"Less than {min_bytes_per_second} bytes a second arrived"
            idle = f"Nothing arrived for {idle_seconds:g} seconds"
            what = slow if allowed < idle_seconds else idle
            raise UploadTimeout(f"{what}. Send the request again.") from None
        waited += time.monotonic() - began
        received += len(chunk)
        if received > max_bytes:
            raise TooLarge(f"The body is longer than the {max_bytes} bytes that all its parts may have.")
        yield chunk
