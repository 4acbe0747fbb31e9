"""Clients on Ray actors; a device needs none of this."""
