"""Output in the terminal: progress, tables, charts."""
