"""Runs side by side: methods and settings over seeds, their statistics, tables and pictures."""
