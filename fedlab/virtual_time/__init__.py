"""Simulated devices: speed and availability of clients, and a virtual clock."""
