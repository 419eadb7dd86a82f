"""Sockets and TLS of the core server."""
