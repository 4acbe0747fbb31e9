"""What outputs are judged by: one loss a file."""
