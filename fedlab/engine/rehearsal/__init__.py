"""The beginning of a local round, tried with a user's own method before anything is trained."""
