"""The gRPC leaf: CSI messages and stubs, the client channel, the server socket. Imports nothing of ours."""
