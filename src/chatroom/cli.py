"""The command line: `chatroom serve`, `chatroom join`, and the table of the commands that are elsewhere."""

import sys
from importlib import import_module
from pathlib import Path

import click

from chatroom.usage import Group, WholeNumber

ELSEWHERE = {"bench": "chatroom.bench.command"} | dict.fromkeys(
    ("account", "backup", "ban", "bans", "unban"), "chatroom.accounts"
)
"""Commands, and the modules in which they have the same name."""


class Commands(Group):
    """The commands; those elsewhere are loaded only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name."""
        if cmd_name in ELSEWHERE:
            command: click.Command = getattr(import_module(ELSEWHERE[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands)
def main() -> None:
    """A chat server and its client: JSON objects over TCP."""


@main.command()
@click.argument("port", required=False)
@click.option("--host", metavar="ADDRESS", help="Address to listen on (127.0.0.1); 0.0.0.0 lets others in.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML file with settings.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Set a limit. May be repeated.")
@click.option(
    "--data", metavar="FILE", help="Keep messages and sessions in this file, beyond the server's end."
)
@click.option("--no-plain", is_flag=True, help="Listen with TLS only.")
@click.option("--tls-host", metavar="ADDRESS", help="Address to listen on with TLS, if it is not --host.")
@click.option("--tls-port", metavar="PORT", help="Second port, for TLS.")
@click.option(
    "--tls-cert", metavar="FILE", help="PEM file with the certificate and its chain. SIGHUP reloads it."
)
@click.option("--tls-key", metavar="FILE", help="PEM file with the private key, which has no passphrase.")
def serve(config: Path | None, limits: tuple[str, ...], *, no_plain: bool, **flags: str | None) -> None:
    """Run a server.

    PORT is 7777 by default; 0 means any free port.
    Settings come from the TOML file, the environment (CHATROOM_HOST, CHATROOM_LIMITS_MAX_CONTENT, …) and the
    command line; each overrides the previous ones. The exit status is 2 if a setting is invalid, and 1 if the
    server cannot listen.
    """
    from chatroom import config as settings
    from chatroom import observe, server
    from chatroom.announce import announcement

    observe.occupy_standard_descriptors()
    observe.log_to_stderr()
    given = {**flags, "plain": False if no_plain else None}
    output = observe.LineWriter(1)
    try:
        whole = settings.load(config, settings.from_environment(), given, limits)
        server.run(whole, lambda ports: output.write(announcement(ports)))
    except (settings.ConfigError, server.CannotListenError) as error:
        observe.LineWriter(2).write(f"{error}\n")
        sys.exit(2 if isinstance(error, settings.ConfigError) else 1)


@main.command()
@click.argument("server_ip")
@click.argument("server_port", type=WholeNumber(1, 65535))
@click.argument("my_nickname")
@click.option("--tls", is_flag=True, help="Use TLS, and verify the server's certificate.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False),
    help="PEM file with the certificate authorities to trust. Implies --tls.",
)
@click.option("--bell", is_flag=True, help="Ring the terminal's bell for direct messages.")
@click.option("--stay", is_flag=True, help="Stay logged in: the next start with --stay needs no password.")
def join(
    server_ip: str,
    server_port: int,
    my_nickname: str,
    ca: str | None,
    *,
    tls: bool,
    bell: bool,
    stay: bool,
) -> None:
    """Join a chat as MY_NICKNAME.

    The password of a registered name is asked for, or taken from CHATROOM_PASSWORD.
    """
    import ssl

    from chatroom.terminal.program import chat

    try:
        context = ssl.create_default_context(cafile=ca) if tls or ca else None
    except ssl.SSLError:
        raise click.BadParameter(f"{ca} contains no certificate in PEM format", param_hint="--ca") from None
    except OSError as error:
        raise click.BadParameter(f"{ca}: {error.strerror}", param_hint="--ca") from None
    sys.exit(chat(server_ip, server_port, my_nickname, context, bell=bell, stay=stay))
