"""The errors a user may see: one sentence each that says what is wrong, where, and what to do."""


class FedlabError(Exception):
    """Base of all errors that fedlab raises on purpose; the command line prints only its text."""

    exit_code = 1


class InputError(FedlabError):
    """Something the user gave (scenario, data, option) cannot be used; nothing was trained."""

    exit_code = 2


class RunError(FedlabError):
    """A run that had started cannot go on."""
