"""The databases that the demo runs on a claim, the loads on them, and the figures that come of it."""
