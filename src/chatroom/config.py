"""The server's settings: one frozen object, from defaults, a TOML file, the environment and flags.

Each of these counts for more than the ones before.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from chatroom.protocol.limits import Limits

DEFAULT_PORT = 7777
PREFIX = "CHATROOM_"

PortNumber = Annotated[int, Meta(ge=0, le=65_535)]
"""0 takes any free one."""


class ConfigError(Exception):
    """A setting is wrong; the text names it and says what is allowed, in one line."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `chatroom serve` can be told."""

    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` or `::` lets others in."""
    port: PortNumber = DEFAULT_PORT
    plain: bool = True
    """Whether that port is open; without it, TLS is all there is."""
    tls_host: str | None = None
    """The address to listen on for TLS, if it is not `host`."""
    tls_port: PortNumber | None = None
    """The port for TLS, beside the other one."""
    tls_cert: str | None = None
    tls_key: str | None = None
    """PEM files: the certificate with its chain, and the private key."""
    limits: Limits = field(default_factory=Limits)


class _Strict(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits as one writes them: a typing error is an error."""


def load(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any], limits: Sequence[str]
) -> Settings:
    """Put the settings together.

    `environment`: `CHATROOM_HOST`, …, and `CHATROOM_LIMITS_MAX_OBJECT`, …; `flags`: by name, None if not given;
    `limits`: `NAME=VALUE`. Raises `ConfigError`.
    """
    given: dict[str, Any] = {}
    if file is not None:
        try:
            given = tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: {error}") from error
    bounds = given.pop("limits", {})
    if not isinstance(bounds, dict):
        raise ConfigError("limits must be a table")
    for name, value in environment.items():
        key = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX + "LIMITS_"):
            bounds[key.removeprefix("limits_")] = _split(key.removeprefix("limits_"), value)
        elif name.startswith(PREFIX):
            given[key] = value
    given |= {name: value for name, value in flags.items() if value is not None}
    for text in limits:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"a limit is given as NAME=VALUE, not {text!r}")
        bounds[key] = _split(key, value)
    strict = _convert(bounds, _Strict, "limits.")
    whole: Settings = _convert(given, Settings, "")
    whole = msgspec.structs.replace(whole, limits=Limits(**msgspec.structs.asdict(strict)))
    _check(whole)
    return whole


def _split(key: str, value: str) -> Any:
    """Return a list where one is wanted: networks, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if key == "exempt" else value


def _convert(given: dict[str, Any], kind: type[Any], prefix: str) -> Any:
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        text = str(error)
        if unknown := re.search(r"unknown field `(\w+)`", text):
            near = get_close_matches(unknown[1], kind.__struct_fields__, 1)
            hint = f", perhaps {prefix}{near[0]}" if near else ""
            raise ConfigError(f"{prefix}{unknown[1]}: there is no such setting{hint}") from None
        found = re.search(r"`\$\.(\w+)", text)
        if found is None:
            raise ConfigError(f"{prefix or 'settings: '}{text}") from None
        key = found[1]
        raise ConfigError(f"{prefix}{key}: {_allowed(kind, key)}, not {given[key]!r}") from None


def _allowed(kind: type[Any], key: str) -> str:
    """Say what a setting may be."""
    wanted = {one.name: one.type for one in msgspec.inspect.type_info(kind).fields}.get(key)  # type: ignore[attr-defined]
    if isinstance(wanted, msgspec.inspect.UnionType):
        [wanted] = [one for one in wanted.types if not isinstance(one, msgspec.inspect.NoneType)]
    match wanted:
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high} is allowed"
        case msgspec.inspect.FloatType(gt=low, le=high):
            return f"a number over {low:g}, up to {high:g}, is allowed"
        case msgspec.inspect.BoolType():
            return "true or false is allowed"
        case msgspec.inspect.StrType():
            return "a text is allowed"
        case _:
            return "a list of texts is allowed"


def _check(settings: Settings) -> None:
    """Refuse what fits its type, and yet makes no sense."""
    for network in settings.limits.exempt:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"limits.exempt: {error}") from None
    if settings.tls_port is not None and not (settings.tls_cert and settings.tls_key):
        raise ConfigError("tls_port needs tls_cert and tls_key")
    if settings.tls_port is None and not (settings.plain and settings.tls_host is None):
        raise ConfigError(f"{'tls_host' if settings.plain else 'plain=false'} needs tls_port")


def from_environment() -> dict[str, str]:
    """Return the variables that are ours."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
