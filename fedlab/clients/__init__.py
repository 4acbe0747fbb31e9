"""The local halves: what one client does in a round, one method a file."""
