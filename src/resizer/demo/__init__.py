"""The demo: a claim is grown on this machine, on a real filesystem under a running writer, and the growth measured."""
