"""Fuzzing of what reads and writes messages: `python -m tools.fuzz [EXECUTIONS] [HARNESS...]`."""
