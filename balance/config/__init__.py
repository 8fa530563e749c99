"""The framework for all YAML files: a tree with positions, kinds of values, and all problems reported at once.

The keys of a file are declared as data (`schema`: `Field`, `Section`, `Table`), its values have kinds (`kinds`, `address`) that parse, write and
describe them. From that declaration come the reader (`walker`), the environment variables, the JSON Schema and the reference page. `tree` applies
environment variables and command-line assignments to the file; `units` has the grammar of durations and sizes.
"""
