"""The demo where it fails: what went wrong is printed as it is."""

import sys
from pathlib import Path

import pytest

from ladder_local.errors import LocalStackError

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_an_error_with_brackets_is_printed_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    import demo

    def fail(*_: object) -> None:
        raise LocalStackError("ended: [/usr/bin/weed] said [bold]no[/red]")

    monkeypatch.setattr(demo, "run", fail)
    assert demo.main() == 1
    assert "[/usr/bin/weed] said [bold]no[/red]" in capsys.readouterr().out
