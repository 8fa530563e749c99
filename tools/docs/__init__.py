"""The documentation as a site: `python -m mkdocs build --strict`."""
