"""The gateway of a core server: an nginx that ends TLS and asks who calls, its configuration, its certificates."""
