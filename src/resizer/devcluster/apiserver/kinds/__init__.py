"""Kinds with habits of their own: what they default to, what they refuse, what a status write may touch."""
