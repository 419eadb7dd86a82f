"""Encrypted, signed archives of everything that a site must never lose."""
