"""The interfaces for the operators of a server."""
