"""The server of the base protocol: python server.py [PORT] [--host HOST]."""

import checkout

if __name__ == "__main__":
    checkout.prepare()
    from chatroom.cli import serve

    serve(prog_name="server.py")
