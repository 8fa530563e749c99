"""Measure the figures of the README: `make bench` prints tables of ratios taken in one run."""
