"""chatroom."""
