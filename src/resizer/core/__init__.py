"""Decisions, pure: the same input always gives the same answer. Time and chance come in as arguments."""
