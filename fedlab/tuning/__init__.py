"""Tuning with the same budget for every method: draws, selection on validation, a ledger."""
