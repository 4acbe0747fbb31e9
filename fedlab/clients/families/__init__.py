"""Client halves that several methods build on."""
