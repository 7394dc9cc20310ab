"""python-socketio under aiohttp; see parse_arguments."""

import asyncio
import ssl

from aiohttp import web
from bench.peers.python_socketio_app import create_server, parse_arguments

try:
    import uvloop  # type: ignore[import-not-found]  # lives in the environment of the peers
except ImportError:
    uvloop = None


async def create_app(handlers: str) -> web.Application:
    app = web.Application()
    create_server("aiohttp", handlers).attach(app)
    return app


if __name__ == "__main__":
    asked = parse_arguments()
    context = None
    if asked.cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(asked.cert, asked.key)
    loop = uvloop.new_event_loop() if uvloop else asyncio.new_event_loop()
    web.run_app(
        create_app(asked.handlers),
        host="127.0.0.1",
        port=asked.port,
        access_log=None,
        print=None,
        backlog=4096,
        loop=loop,
        ssl_context=context,
    )
