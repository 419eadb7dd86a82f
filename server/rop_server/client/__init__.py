"""The client interface (61009): exact documents of the ROP v1.0 client API."""
