// socket.io-client with the MessagePack parser; the server is started with --parser msgpack.

import { io as plain } from "socket.io-client";
import parser from "socket.io-msgpack-parser";

export const io = (url, options) => plain(url, { ...options, parser });
