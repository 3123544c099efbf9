"""What is measured, and how: each module here is one benchmark, run as `python -m bench.<name>`."""
