"""The generators of skew, and the scenarios that come with fedlab as YAML files."""

if __name__ != "fedlab.scenarios":  # a second copy, through the link in the repository's root
    raise ImportError(f"import fedlab.scenarios, not {__name__}")
