"""Sessions, registry and decisions of the core server."""
