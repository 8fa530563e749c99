"""Checks over a bundle: what no constructor can refuse, because it only shows once everything is together."""
