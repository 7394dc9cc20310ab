// A backend in Node, on nothing but its standard library: calls methods of the control socket, and
// handles events of clients. Usage: node control_backend.mjs unix|tcp|http PATH|PORT TOKEN
// Reads [[method, params], ...] from standard input, and writes the results as JSON.
import http from "node:http";
import net from "node:net";
import readline from "node:readline";

const [kind, where, token] = process.argv.slice(2);

function overLines() {
  const socket = net.connect(kind === "unix" ? where : { host: "127.0.0.1", port: Number(where) });
  const waiting = new Map();
  let greeted;
  const greeting = new Promise((resolve) => (greeted = resolve));
  readline.createInterface({ input: socket }).on("line", (line) => {
    const message = JSON.parse(line);
    if (message.method === "hello") greeted(message.params);
    else if (message.method === "backend.event") {
      const { event, args } = message.params;
      socket.write(
        `${JSON.stringify({ jsonrpc: "2.0", id: message.id, result: { event, args } })}\n`,
      );
    } else waiting.get(message.id)(message);
  });
  return {
    async call(request) {
      await greeting;
      const answer = new Promise((resolve) => waiting.set(request.id, resolve));
      socket.write(`${JSON.stringify(request)}\n`);
      return answer;
    },
    close: () => socket.destroy(),
  };
}

function overHttp() {
  const agent = new http.Agent({ keepAlive: true });
  return {
    call: (request) =>
      new Promise((resolve, reject) => {
        const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
        const options = { host: "127.0.0.1", port: where, path: "/rpc", method: "POST", headers, agent };
        const sent = http.request(options, (response) => {
          let text = "";
          response.on("data", (data) => (text += data));
          response.on("end", () => resolve(JSON.parse(text)));
        });
        sent.on("error", reject);
        sent.end(JSON.stringify(request));
      }),
    close: () => agent.destroy(),
  };
}

let text = "";
for await (const data of process.stdin) text += data;
const backend = kind === "http" ? overHttp() : overLines();
const results = [];
let id = 0;
for (const [method, params] of JSON.parse(text)) {
  const answer = await backend.call({ jsonrpc: "2.0", id: (id += 1), method, params });
  if (answer.id !== id) throw new Error(`the answer to ${id} has the id ${answer.id}`);
  results.push(answer.error ?? answer.result);
}
backend.close();
console.log(JSON.stringify(results));
