"""Which samples belong to which client: the arithmetic that all skews share."""
