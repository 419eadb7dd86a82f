"""What happens in a pod before the core server serves: its data is prepared, its keys are put into a Secret."""
