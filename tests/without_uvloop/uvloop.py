"""Stands in the way of uvloop: with this folder in PYTHONPATH, programs run on plain asyncio."""

raise ImportError("plain asyncio is wanted")
