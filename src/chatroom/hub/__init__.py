"""The chat itself: who is here, and who hears what. Plain synchronous code, no I/O, no clock of its own."""
