"""Looks at a file while it passes: how long it is, and whether it can be what it is sent as."""

from typing import Literal

from api.errors import Invalid, TooLarge
from api.intake.formats import HEAD_BYTES, TAIL_BYTES, flaw, is_dataset, is_zip, recognise

FileKind = Literal["model", "dataset"]

NEEDS: dict[FileKind, str] = {
    "model": "Send a TorchScript file, written by torch.jit.save(torch.jit.script(model), path), or an "
    "exported program (.pt2), written by torch.export.save(program, path).",
    "dataset": (
        "Send a NumPy archive, written by numpy.savez(path, x_train=..., y_train=...), a zip or tar archive "
        "of image folders (train/<class>/..., test/<class>/...), or Parquet of encoded images and labels."
    ),
}
_BEGINS_AS_IT_SHOULD = {"model": is_zip, "dataset": is_dataset}


class Inspector:
    """Watches one file; its first and last bytes are as much as can be told without opening it."""

    def __init__(self, kind: FileKind, max_bytes: int) -> None:
        self._kind = kind
        self._max_bytes = max_bytes
        self._head = b""
        self._tail = b""
        self._bytes = 0

    def look(self, chunk: bytes) -> None:
        """See the next bytes.

        Raises:
            TooLarge: They are more than is accepted.
            Invalid: The file does not begin as it should.
        """
        self._bytes += len(chunk)
        if self._bytes > self._max_bytes:
            raise TooLarge(f"The {self._kind} is larger than the {self._max_bytes} bytes accepted.")
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES:
                self._check_head()
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def finish(self) -> None:
        """The file has been seen to its end.

        Raises:
            Invalid: It is empty, not what it should be, or not whole.
        """
        if not self._bytes:
            raise Invalid.field(self._kind, "The file is empty.", NEEDS[self._kind])
        self._check_head()
        missing = flaw(self._head, self._tail, self._bytes)
        if missing:
            raise Invalid.field(
                self._kind, f"The file is not whole: {missing}.", "Write it again, and send all of it."
            )

    def _check_head(self) -> None:
        if not _BEGINS_AS_IT_SHOULD[self._kind](self._head):
            raise Invalid.field(
                self._kind,
                f"The file looks like {recognise(self._head)}.",
                NEEDS[self._kind],
            )
