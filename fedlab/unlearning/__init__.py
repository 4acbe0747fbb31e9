"""Federated unlearning: a finished run's model without what one client has taught it."""
