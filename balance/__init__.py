"""balance: a monitoring-as-code toolkit and the load balancer that proves it."""

__version__ = "0.1.0"
