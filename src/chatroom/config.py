"""The server's settings: one frozen object, from defaults, a TOML file, the environment and flags.

Each of these overrides the previous ones.
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
"""Not empty, which would mean any address; the system does not accept NUL."""
PortNumber = Annotated[int, Meta(ge=0, le=65_535)]
"""0 means any free port."""


class ConfigError(Exception):
    """A setting is invalid; the text names it and says what it must be, in one line."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of `chatroom serve`."""

    host: Text = "127.0.0.1"
    """The address to listen on; `0.0.0.0` or `::` lets others in."""
    port: PortNumber = DEFAULT_PORT
    plain: bool = True
    """Whether to listen on that port; if not, with TLS only."""
    tls_host: Text | None = None
    """The address to listen on with TLS, if it is not `host`."""
    tls_port: PortNumber | None = None
    """The second port, for TLS."""
    tls_cert: Text | None = None
    tls_key: Text | None = None
    """PEM files: the certificate with its chain, and the private key."""
    data: Text | None = None
    """The file in which messages are kept; without one, the newest are kept in memory."""
    limits: Limits = field(default_factory=Limits)


class _Strict(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits as an operator writes them: an unknown name is an error."""


_PLACES = {field: field for field in Settings.__struct_fields__} | {
    field: f"limits.{field}" for field in Limits.__struct_fields__
}
"""Every setting as it stands in the file, by its name alone."""
ENVELOPE = len('{"code":"outgoing_broadcast","content":""}')
"""Bytes of a broadcast around its content."""
_ORDERED = [
    ("max_content", "max_backlog"),
    ("max_backlog", "max_backlogs"),
    ("slow_down_after", "flood_timeout"),
]
"""Limits of which the first must not be greater than the second: else a message that may be sent would end its
readers, or a flood its connection unwarned."""


class _Origin(Struct, frozen=True):
    """A source of settings, and how it spells their names."""

    spell: Callable[[str], str]
    place: str = ""

    def name(self, key: str) -> str:
        """Return what a complaint about this setting begins with."""
        return self.place + self.spell(key)


def load(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any], limits: Sequence[str]
) -> Settings:
    """Combine the settings. Each source is checked by itself, even where a later one overrides it.

    `environment`: `CHATROOM_HOST`, …, and `CHATROOM_LIMITS_MAX_OBJECT`, …; `flags`: by name, None if not given;
    `limits`: `NAME=VALUE`. Raises `ConfigError`.
    """
    values: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    origins: dict[str, _Origin] = {}
    for origin, given in [
        (_Origin(str, f"{file}: "), {} if file is None else _read(file)),
        (_Origin(_variable), _of_environment(environment)),
        (_Origin(_option), _of_command_line(flags, limits)),
    ]:
        own = given.pop("limits", {})
        if not isinstance(own, dict):
            raise ConfigError(f"{origin.name('limits')}: must be a table, not {own!r}")
        values |= _checked(given, Settings, "", origin)
        bounds |= _checked(own, _Strict, "limits.", origin)
        origins |= dict.fromkeys([*given, *(f"limits.{key}" for key in own)], origin)
    whole = Settings(**values, limits=Limits(**bounds))
    _check_together(whole, origins)
    return whole


def _of_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name, value in variables.items():
        key = name.removeprefix(PREFIX).lower()
        if key.startswith("limits_"):
            _set_limit(limits, key.removeprefix("limits_"), value)
        else:
            given[key] = value
    return {"limits": limits} | given


def _of_command_line(flags: Mapping[str, Any], limits: Sequence[str]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for text in limits:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--limit: must be NAME=VALUE, not {text!r}")
        _set_limit(bounds, key, value)
    return {key: value for key, value in flags.items() if value is not None} | {"limits": bounds}


def _set_limit(limits: dict[str, Any], key: str, value: str) -> None:
    """Add a limit given as text: for `exempt`, networks separated by commas."""
    limits[key] = [part.strip() for part in value.split(",") if part.strip()] if key == "exempt" else value


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {file}: {error.strerror}") from error
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


def _checked(given: dict[str, Any], kind: type[Any], prefix: str, origin: _Origin) -> dict[str, Any]:
    """Return the values of one source, each of its type. Raises `ConfigError`."""
    try:
        found = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        if unknown := re.search(r"unknown field `(.*)`", str(error)):
            key = unknown[1]
            near = get_close_matches(key, _PLACES, 1)
            hint = f", perhaps {origin.spell(_PLACES[near[0]])}" if near else ""
            raise ConfigError(f"{origin.name(prefix + key)}: there is no such setting{hint}") from None
        key = re.findall(r"`\$\.(\w+)", str(error))[0]
        raise ConfigError(f"{origin.name(prefix + key)}: {_rule(kind, key)}, not {given[key]!r}") from None
    for network in given.get("exempt", ()):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"{origin.name(prefix + 'exempt')}: {error}") from None
    return {key: getattr(found, key) for key in given}


def _rule(kind: type[Any], key: str) -> str:
    """Say what a setting must be."""
    wanted = {one.name: one.type for one in msgspec.inspect.type_info(kind).fields}.get(key)  # type: ignore[attr-defined]
    if isinstance(wanted, msgspec.inspect.UnionType):
        [wanted] = [one for one in wanted.types if not isinstance(one, msgspec.inspect.NoneType)]
    match wanted:
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"must be a whole number from {low} to {high}"
        case msgspec.inspect.FloatType(gt=None, ge=low, le=high):
            return f"must be a number from {low:g} to {high:g}"
        case msgspec.inspect.FloatType(gt=low, le=high):
            return f"must be a number above {low:g}, at most {high:g}"
        case msgspec.inspect.BoolType():
            return "must be true or false"
        case msgspec.inspect.StrType():
            return "must be a non-empty string without NUL"
        case _:
            return "must be a list of strings"


def _check_together(settings: Settings, origins: Mapping[str, _Origin]) -> None:
    """Refuse settings that contradict one another."""
    limits = settings.limits
    most = limits.max_object - ENVELOPE
    if limits.max_content > most:
        key = "limits.max_content" if "limits.max_content" in origins else "limits.max_object"
        raise ConfigError(
            f"{origins[key].name(key)}: max_content is {limits.max_content}, but max_object, which is "
            f"{limits.max_object}, has room for at most {most} bytes of content"
        )
    for less, more in _ORDERED:
        least, greatest = getattr(limits, less), getattr(limits, more)
        if least > greatest:
            key = next(f"limits.{one}" for one in (less, more) if f"limits.{one}" in origins)
            rule = f"{less} is {least}, but must not be greater than {more}, which is {greatest}"
            raise ConfigError(f"{origins[key].name(key)}: {rule}")
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


_OTHERS = {"CHATROOM_PASSWORD"}
"""Variables of `chatroom join`, which may stand in the same environment."""
_LINKED = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)|^CHATROOM_ENV_")
_LINKED_VALUE = re.compile(r"_PORT=(tcp|udp|sctp)://|^CHATROOM_NAME=/")


def from_environment() -> dict[str, str]:
    """Return the variables that are settings: those of the client program are passed over.

    Kubernetes and Docker tell a container of services and links called `chatroom` in variables like
    `CHATROOM_SERVICE_HOST` and `CHATROOM_PORT=tcp://10.0.0.1:7777`: they are passed over
    (kubernetes.io/docs/concepts/services-networking/service, docs.docker.com/engine/network/links).
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
        and name not in _OTHERS
        and not (_LINKED.search(name) or _LINKED_VALUE.search(f"{name}={value}"))
    }
