"""Measures the server against its peers: see bench/README.md."""
