"""Requests and responses of HTTP/1.1, routes, origins, files; knows no Engine.IO."""
