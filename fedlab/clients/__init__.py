"""The local halves: what one client does in a round, one method a file."""

if __name__ != "fedlab.clients":  # a second copy, through the link in the repository's root
    raise ImportError(f"import fedlab.clients, not {__name__}")
