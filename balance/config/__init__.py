"""The framework for every YAML file: one tree with positions, one set of kinds of values, every problem at once.

A file's keys are data (`schema`: `Field`, `Section`, `Table`), its values are of kinds (`kinds`, `address`) that know how they are read, written and
described. From that one declaration follow what reads the file (`walker`), its environment variables, its JSON Schema and its reference page.
`tree` lays environment variables and command-line assignments over the file; `units` holds the grammar of durations and sizes.
"""
