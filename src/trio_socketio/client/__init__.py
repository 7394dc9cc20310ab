"""The client: one connection, any number of namespaces, on trio."""
