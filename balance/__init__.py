"""balance: a monitoring-as-code toolkit and the load balancer that proves it."""

import time

LOADED = time.time()
"""When this process began to load the package: code that was written later is not the code that runs."""
__version__ = "0.1.0"
