"""The keyboard and the screen, connected to the client library."""
