"""Drivers: how they are reached, what they say of themselves, how a volume is grown by them, what their errors mean."""
