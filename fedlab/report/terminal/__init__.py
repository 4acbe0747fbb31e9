"""What a terminal shows: progress, tables, charts."""
