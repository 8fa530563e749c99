"""Checks over a whole bundle: what no constructor can reject, because it only shows once everything is together."""
