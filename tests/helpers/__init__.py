"""What several test modules use: toy problems, networks and methods, and ways to run them."""
