"""The kopf edge, a few lines each."""
