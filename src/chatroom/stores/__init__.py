"""What is remembered beyond the server's process."""
