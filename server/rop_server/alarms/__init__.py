"""Delivery of device alarms to the webhook."""
