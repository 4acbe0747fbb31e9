"""Ways of running clients: one after the other, by captured steps, under vmap, as one network."""
