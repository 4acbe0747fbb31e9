"""The server's side of a round: messages, client updates, sums, history rows."""
