"""The server's settings: one frozen object, from defaults, a TOML file, the environment and flags.

Each of these counts for more than the ones before.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from chatroom.protocol.limits import Limits

DEFAULT_PORT = 7777
PREFIX = "CHATROOM_"

Text = Annotated[str, Meta(pattern=r"^[^\0]+$")]
"""Not empty, as that would be any address; the system takes no NUL."""
PortNumber = Annotated[int, Meta(ge=0, le=65_535)]
"""0 takes any free one."""


class ConfigError(Exception):
    """A setting is wrong; the text names it and says what is allowed, in one line."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `chatroom serve` can be told."""

    host: Text = "127.0.0.1"
    """The address to listen on; `0.0.0.0` or `::` lets others in."""
    port: PortNumber = DEFAULT_PORT
    plain: bool = True
    """Whether that port is open; without it, TLS is all there is."""
    tls_host: Text | None = None
    """The address to listen on for TLS, if it is not `host`."""
    tls_port: PortNumber | None = None
    """The port for TLS, beside the other one."""
    tls_cert: Text | None = None
    tls_key: Text | None = None
    """PEM files: the certificate with its chain, and the private key."""
    limits: Limits = field(default_factory=Limits)


class _Strict(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits as one writes them: a typing error is an error."""


class _Origin(Struct, frozen=True):
    """Where a value came from, and how settings are written there."""

    spell: Callable[[str], str]
    place: str = ""

    def name(self, key: str) -> str:
        """Return what a complaint about this setting begins with."""
        return self.place + self.spell(key)


def load(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any], limits: Sequence[str]
) -> Settings:
    """Put the settings together.

    `environment`: `CHATROOM_HOST`, …, and `CHATROOM_LIMITS_MAX_OBJECT`, …; `flags`: by name, None if not given;
    `limits`: `NAME=VALUE`. Raises `ConfigError`.
    """
    given = {} if file is None else _read(file)
    origins = dict.fromkeys(given, in_file := _Origin(str, f"{file}: "))
    bounds = given.pop("limits", {})
    if not isinstance(bounds, dict):
        raise ConfigError(f"{file}: limits: a table is allowed, not {bounds!r}")
    origins |= {f"limits.{key}": in_file for key in bounds}
    for name, value in environment.items():
        key = name.removeprefix(PREFIX).lower()
        if limit := key.startswith("limits_"):
            key = key.removeprefix("limits_")
            bounds[key] = _split(key, value)
        else:
            given[key] = value
        origins["limits." * limit + key] = _Origin(_variable)
    for key, value in flags.items():
        if value is not None:
            given[key] = value
            origins[key] = _Origin(_option)
    for text in limits:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--limit: NAME=VALUE is allowed, not {text!r}")
        bounds[key] = _split(key, value)
        origins[f"limits.{key}"] = _Origin(_option)
    strict = _convert(bounds, _Strict, "limits.", origins)
    whole: Settings = _convert(given, Settings, "", origins)
    whole = msgspec.structs.replace(whole, limits=Limits(**msgspec.structs.asdict(strict)))
    _check(whole, origins)
    return whole


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _variable(key: str) -> str:
    """Return the variable of the environment that holds this setting."""
    return PREFIX + key.upper().replace(".", "_")


def _option(key: str) -> str:
    """Return how this setting is written on the command line."""
    if key.startswith("limits."):
        return f"--limit {key.removeprefix('limits.')}"
    return {"port": "PORT", "plain": "--no-plain"}.get(key, "--" + key.replace("_", "-"))


def _split(key: str, value: str) -> Any:
    """Return a list where one is wanted: networks, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if key == "exempt" else value


def _convert(given: dict[str, Any], kind: type[Any], prefix: str, origins: Mapping[str, _Origin]) -> Any:
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        if unknown := re.search(r"unknown field `(.*)`", str(error)):
            key = unknown[1]
            origin = origins[prefix + key]
            near = get_close_matches(key, kind.__struct_fields__, 1)
            hint = f", perhaps {origin.spell(prefix + near[0])}" if near else ""
            raise ConfigError(f"{origin.name(prefix + key)}: there is no such setting{hint}") from None
        key = re.findall(r"`\$\.(\w+)", str(error))[0]
        where = origins[prefix + key].name(prefix + key)
        raise ConfigError(f"{where}: {_allowed(kind, key)}, not {given[key]!r}") from None


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
        case msgspec.inspect.StructType():
            return "a table is allowed"
        case msgspec.inspect.StrType():
            return "a text is allowed, not empty and without NUL"
        case _:
            return "a list of texts is allowed"


def _check(settings: Settings, origins: Mapping[str, _Origin]) -> None:
    """Refuse what fits its type, and yet makes no sense."""
    for network in settings.limits.exempt:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"{origins['limits.exempt'].name('limits.exempt')}: {error}") from None
    if settings.tls_port is None:
        dependent = ["tls_cert", "tls_key", "tls_host", *([] if settings.plain else ["plain"])]
        needed = ["tls_port"]
    else:
        dependent, needed = ["tls_port"], ["tls_cert", "tls_key"]
    missing = [key for key in needed if getattr(settings, key) is None]
    for key in dependent:
        if missing and getattr(settings, key) is not None:
            origin = origins[key]
            value = "=false" if key == "plain" and origin.spell is not _option else ""
            raise ConfigError(f"{origin.name(key)}{value} needs {' and '.join(map(origin.spell, missing))}")


def from_environment() -> dict[str, str]:
    """Return the variables that are ours."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
