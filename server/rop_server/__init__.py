"""The core server."""
