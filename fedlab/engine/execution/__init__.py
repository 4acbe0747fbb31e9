"""Ways of running clients: one after the other, under vmap, as one batched network."""
