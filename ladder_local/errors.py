"""What can go wrong while running the stack on one machine.

LocalStackError
  - DataDirectoryInUseError
  - DataDirectoryUnreachableError
  - DataDirectoryForeignError
  - PortTakenError
  - ServerMissingError
  - ProcessFailedError
"""


class LocalStackError(Exception):
    """Base of this package's errors; the message says what to do."""


class DataDirectoryInUseError(LocalStackError):
    """Another stack runs on the same data directory."""


class DataDirectoryUnreachableError(LocalStackError):
    """The data directory cannot be made, or an account that must work in it cannot enter it."""


class DataDirectoryForeignError(LocalStackError):
    """The directory belongs to something else: it holds files, and none of them is a stack's."""


class PortTakenError(LocalStackError):
    """The port that was asked for belongs to another program."""


class ServerMissingError(LocalStackError):
    """A server's wheel is not installed."""


class ProcessFailedError(LocalStackError):
    """A process of the stack ended, or was not ready in time."""
