"""Grafana dashboards, written in Python and generated into deploy/grafana by `python -m tools.dashboards`.

`parts` has what all share: variables, targets, kinds of panels; one module a dashboard says what it shows. A test
fails when the committed JSON is another than what these make, another holds every query against the metrics that
there are, and a soak test draws every panel from a real Prometheus.
"""

import warnings

with warnings.catch_warnings():
    # Every Grafana from 10 on reads the schema used here; the next one, which the SDK prefers, few read yet. Modules
    # warn when they are first imported and never again.
    warnings.simplefilter("ignore", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.builders.heatmap
    import grafana_foundation_sdk.cog.plugins  # noqa: F401
