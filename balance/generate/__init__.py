"""From sources and settings to generated files."""
