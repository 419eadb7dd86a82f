"""The one loop: observe, plan, perform, status."""
