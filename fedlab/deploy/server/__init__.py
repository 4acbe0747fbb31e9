"""The server of a deployment: its SuperLink, the registry of devices, checks of their replies."""
