"""Real devices: the server, its keys, and the clients that run elsewhere."""
