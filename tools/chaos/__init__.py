"""Faults under load: four backends, a steady stream of requests through `balance serve`, one fault after another. Afterwards all counts are compared.

`python -m tools.chaos` prints the table of docs/load-balancer.md; tests/e2e/test_chaos.py makes the same run and checks its claims.
"""
