"""Rotation of what cameras trust and are trusted by: certificates, authorities, device keys, the signKey.

Each item is one module. The engine orders steps, one at a time; the server carries each out whole and remembers
it.
"""
