"""The client of the base protocol: python client.py server_ip server_port my_nickname."""

import checkout

if __name__ == "__main__":
    checkout.prepare()
    from chatroom.cli import join

    join(prog_name="client.py")
