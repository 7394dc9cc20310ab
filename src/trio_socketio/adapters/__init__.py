"""Adapters that reach the other nodes of a cluster."""
