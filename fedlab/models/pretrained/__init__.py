"""Networks that start from trained weights, and parts of them that stay as they are."""
