"""The command line: `chatroom serve`, `chatroom join`, `chatroom bench`."""

import sys

import click

from chatroom.config import DEFAULT_PORT, Settings


class Commands(click.Group):
    """The commands; `bench` is loaded only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted([*super().list_commands(ctx), "bench"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name."""
        if cmd_name == "bench":
            from chatroom.bench.command import bench

            return bench
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatroom")
def main() -> None:
    """The simplest chat there is: JSON objects over TCP."""


@main.command()
@click.argument("port", type=click.IntRange(0, 65535), default=DEFAULT_PORT)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets others in."
)
def serve(port: int, host: str) -> None:
    """Run a server on PORT (7777 if not given, 0 for any free one)."""
    from chatroom import observe, server

    observe.log_to_stderr()
    try:
        server.run(Settings(host=host, port=port), _announce)
    except server.CannotListenError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@main.command()
@click.argument("server_ip")
@click.argument("server_port", type=click.IntRange(1, 65535))
@click.argument("my_nickname")
def join(server_ip: str, server_port: int, my_nickname: str) -> None:
    """Chat as MY_NICKNAME on the server at SERVER_IP SERVER_PORT."""
    from chatroom.terminal.program import chat

    sys.exit(chat(server_ip, server_port, my_nickname))


def _announce(addresses: list[str]) -> None:
    """Say where the server is, and how to join."""
    host, _, port = addresses[0].rpartition(":")
    is_local = host in {"127.0.0.1", "[::1]"}
    reach = host.strip("[]") if is_local else "ADDRESS_OF_THIS_MACHINE"
    program = "chatroom join" if sys.argv[0].endswith("chatroom") else "python3 client.py"
    print(
        f"chatroom listens on {', '.join(addresses)}; join with: {program} {reach} {port} YOUR_NAME",
        flush=True,
    )
    if is_local:
        print("Only this machine can reach it. To let others in, start it with --host 0.0.0.0", flush=True)
