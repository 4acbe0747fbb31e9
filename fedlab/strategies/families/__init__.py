"""Strategies that several methods build on, and what they require of a scenario."""
