"""The documents keep their word: each limit has its default, and a test by the name that stands there."""

import re

import pytest
from msgspec import structs

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
