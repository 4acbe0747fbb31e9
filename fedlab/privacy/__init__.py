"""Central differential privacy: the models that go down reveal little about any one client."""
