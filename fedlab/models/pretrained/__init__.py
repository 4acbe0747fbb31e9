"""Networks that start from trained weights, and frozen parts of them."""
