"""From sources and settings to artifacts, and what changed between two states of them."""
