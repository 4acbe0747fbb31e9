"""Parameter-efficient training: small additions to layers learn, the layers do not."""
