"""Mutation tests: every alert rule is changed in every way that `mutate` knows, and its generated tests must fail."""
