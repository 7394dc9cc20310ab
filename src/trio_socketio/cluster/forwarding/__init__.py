"""Passes requests on to the nodes whose sessions they name."""
