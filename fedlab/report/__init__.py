"""Output for people: progress, tables, figures."""
