"""Values: quantities, object projections, patches and errors. Nothing here acts, waits or reads a clock."""
