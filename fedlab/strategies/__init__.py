"""The server halves: what goes down and how updates combine, one method a file."""

if __name__ != "fedlab.strategies":  # a second copy, through the link in the repository's root
    raise ImportError(f"import fedlab.strategies, not {__name__}")
