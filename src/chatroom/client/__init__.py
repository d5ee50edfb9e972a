"""The client library: one core without I/O, and two clients over it, blocking and asyncio."""
