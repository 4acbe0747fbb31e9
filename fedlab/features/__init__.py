"""Features of frozen networks: what a scenario's ``data.features`` can name."""
