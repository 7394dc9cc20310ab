// The bench app on socket.io, the same over every HTTP server.

const tick = () => new Promise((resolve) => setImmediate(resolve));

// The reference gives handlers no return value: the last argument answers the acknowledgement.
const variants = {
  plain: (socket) => ({
    echo: (...values) => {
      socket.emit("echo", ...values);
    },
    echo_ack: (...values) => {
      const answer = values.pop();
      answer(...values);
    },
  }),
  async: (socket) => ({
    echo: async (...values) => {
      socket.emit("echo", ...values);
    },
    echo_ack: async (...values) => {
      const answer = values.pop();
      answer(...values);
    },
  }),
  suspends: (socket) => ({
    echo: async (...values) => {
      await tick();
      socket.emit("echo", ...values);
    },
    echo_ack: async (...values) => {
      const answer = values.pop();
      await tick();
      answer(...values);
    },
  }),
};

// handlers: plain, async or suspends. With BENCH_REDIS, the URL of a Unix socket, in the environment, this is a
// node of those that share this Redis.
export const run = async (io, handlers) => {
  const redis = process.env.BENCH_REDIS?.replace("unix://", "");
  if (redis) {
    const { createAdapter } = await import("@socket.io/redis-adapter");
    const { Redis } = await import("ioredis");
    io.adapter(createAdapter(new Redis(redis), new Redis(redis)));
  }
  io.on("connection", (socket) => {
    const { echo, echo_ack: echoAck } = variants[handlers](socket);
    socket.on("echo", echo);
    socket.on("echo_ack", echoAck);
    socket.on("bcast", (...values) => {
      io.emit("bcast", ...values);
    });
    socket.on("join", (room, answer) => {
      socket.join(String(room));
      answer?.();
    });
    socket.on("room", (name, ...payload) => {
      io.to(String(name)).emit("room", ...payload);
    });
  });
  process.on("SIGTERM", () => process.exit(0));
};
