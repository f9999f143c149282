"""Faults on purpose: what the service must survive without one row that differs."""
