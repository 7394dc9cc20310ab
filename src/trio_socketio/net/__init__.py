"""Bytes: connections, TLS and WebSocket frames. Nothing here knows HTTP or Engine.IO sessions."""
