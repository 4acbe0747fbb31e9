"""Client trainers that several methods build on."""
