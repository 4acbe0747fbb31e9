"""Central differential privacy: the models that go down tell little about any one client."""
