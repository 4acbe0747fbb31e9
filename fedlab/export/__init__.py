"""A trained model as a file for inference on a device, checked against the original."""
