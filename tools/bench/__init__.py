"""The figures of the README, measured: `make bench` prints tables of ratios taken in one run."""
