"""The documents keep their word: each limit has its default, and a test by the name that stands there."""

import re
from pathlib import Path

import pytest
from msgspec import structs

from chatroom.config import load
from chatroom.protocol.limits import Limits
from conftest import PROJECT

LIMITS = (PROJECT / "docs" / "limits.md").read_text()
TESTS = "\n".join(file.read_text() for file in (PROJECT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", LIMITS))))
def test_named_tests_exist(name: str) -> None:
    """A test that the table names is there."""
    assert f"def {name}(" in TESTS


def test_each_limit_is_in_the_table() -> None:
    """No setting is left out."""
    missing = [field.name for field in structs.fields(Limits) if f"`{field.name}`" not in LIMITS]

    assert missing == []


def test_the_settings_file(tmp_path: Path) -> None:
    """The example of a settings file is accepted as it stands, and its values are used."""
    example = LIMITS.partition("```toml\n")[2].partition("```")[0]
    file = tmp_path / "chatroom.toml"
    file.write_text(example)

    settings = load(file, {}, {}, [])
    assert len(example.splitlines()) == 9
    assert (settings.host, settings.tls_port) == ("0.0.0.0", 7778)
    assert settings.limits == Limits(max_content=4096, exempt=("127.0.0.0/8", "10.0.0.0/8"))
