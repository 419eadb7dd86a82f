"""The ropctl command line."""
