"""The compose files promise no default passwords and one open port; read as text, without a YAML library."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


def test_every_password_is_required_and_named_in_the_example_without_a_value() -> None:
    passwords = set(re.findall(r"\$\{(\w+_PASSWORD)", COMPOSE))

    assert passwords
    assert set(re.findall(r"\$\{(\w+_PASSWORD):\?", COMPOSE)) == passwords
    assert len(re.findall(r"\$\{\w+_PASSWORD:\?", COMPOSE)) == len(re.findall(r"\$\{\w+_PASSWORD", COMPOSE))
    assert set(re.findall(r"^(\w+_PASSWORD)=$", EXAMPLE, re.MULTILINE)) == passwords


def test_the_api_alone_is_reachable_and_on_loopback_unless_told_otherwise() -> None:
    assert re.findall(r"ports: (.*)", COMPOSE) == ['["${LADDER_LISTEN:-127.0.0.1:8000}:8000"]']


def test_images_are_pinned() -> None:
    foreign = re.findall(r"image: (\S+/\S+)", COMPOSE)

    assert len(foreign) == 3
    assert all(re.search(r":[\w.-]+$", image) and not image.endswith(":latest") for image in foreign)
