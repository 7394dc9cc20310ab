"""Requests and responses of HTTP/1.1, routes, CORS and static files. Knows nothing of Engine.IO."""
