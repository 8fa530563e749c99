"""balance: a monitoring-as-code toolkit, and a load balancer that uses it."""

import time

LOADED = time.time()
"""When this process loaded the package, in seconds since 1970: code written later is not the code that runs."""
__version__ = "0.1.0"
