"""The pipeline's Kubernetes side: credentials, requests, watches, the cache, writes, events, secrets, leases."""
