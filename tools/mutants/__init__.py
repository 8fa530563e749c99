"""Do the generated tests catch a wrong rule? Every alert is changed in every way that `mutate` knows, and its tests must fail."""
