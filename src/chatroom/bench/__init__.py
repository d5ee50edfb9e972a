"""The load generator: what a chat server delivers, and what that costs it."""
