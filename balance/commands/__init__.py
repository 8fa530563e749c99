"""`balance-gen`: one file a command."""
