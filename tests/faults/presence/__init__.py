"""Presence on real nodes and a real Redis that fail in every way, and a check of all they did."""
