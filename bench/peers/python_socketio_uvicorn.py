"""python-socketio under uvicorn; see parse_arguments."""

import uvicorn  # type: ignore[import-not-found]  # lives in the environment of the peers
from bench.peers.python_socketio_app import create_server, parse_arguments

import socketio

if __name__ == "__main__":
    asked = parse_arguments()
    uvicorn.run(
        socketio.ASGIApp(create_server("asgi", asked.handlers)),
        host="127.0.0.1",
        port=asked.port,
        log_level="warning",
        backlog=4096,
        ssl_certfile=asked.cert,
        ssl_keyfile=asked.key,
    )
