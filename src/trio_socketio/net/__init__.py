"""The only floor that touches a file descriptor, TLS, h11 or wsproto."""
