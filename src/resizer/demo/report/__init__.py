"""The report of `--workload mysql`: figures by matplotlib, and one HTML file that needs no other."""
