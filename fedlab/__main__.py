"""``python -m fedlab`` is the command ``fedlab``."""

from fedlab.cli import main

main()
