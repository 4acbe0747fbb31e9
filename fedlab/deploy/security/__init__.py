"""Certificates, keys, and what a failed connection means."""
