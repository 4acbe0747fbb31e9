"""fedlab: federated learning under label skew and domain skew."""

import os

# fedlab phones nobody: these switch off the telemetry and update checks of Flower and Ray.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

__version__ = "0.1.0"
