"""``python -m ladder_client`` is ``ladder``."""

from ladder_client.cli import app

app(prog_name="ladder")
