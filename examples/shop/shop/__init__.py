"""A small shop, with its metrics, alerts and dashboard."""
