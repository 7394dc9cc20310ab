"""Socket.IO: namespaces, sockets, rooms, acks and handlers on Engine.IO sessions."""
