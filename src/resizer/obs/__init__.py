"""Seen from outside: logs, metrics, probes, and the HTTP endpoint that serves them."""
