"""Tools for developers; not shipped, never imported by balance."""
