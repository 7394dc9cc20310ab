"""Namespaces that are made, changed and removed while the program runs, on all nodes."""
