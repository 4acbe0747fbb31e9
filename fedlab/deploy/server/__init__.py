"""The server of a deployment: its SuperLink, the devices that come, what they send."""
