"""Bytes to typed messages and back: no sockets, no clock, no chat."""
