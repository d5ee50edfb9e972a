"""How people come in: the sockets, and the bytes that wait for them."""
