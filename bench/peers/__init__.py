"""The peers that chatroom is measured beside: how each is spoken to, started and set up."""
