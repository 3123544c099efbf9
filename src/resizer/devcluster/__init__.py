"""The development cluster: an API server, a provisioner, an attacher and a kubelet-like part, on one machine.

A guest in this package: only the command line and the tests import it, and it knows nothing of the pipeline.
What the pipeline sees of it is what it would see of a real cluster: sockets, and the CSI driver's answers.
"""
