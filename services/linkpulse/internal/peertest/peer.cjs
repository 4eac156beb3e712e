// A WebSocket client for the tests of the gateway, on the npm package ws. Orders are lines of JSON on standard input, and
// what happens is told as lines of JSON on standard output; peertest.go has both.
"use strict";
const readline = require("node:readline");
const { WebSocket } = require("ws");

const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");
let socket;

const orders = {
  connect({ url, headers }) {
    socket = new WebSocket(url, { headers, perMessageDeflate: true });
    socket.on("open", () => tell({ open: true, extensions: socket.extensions, subprotocol: socket.protocol }));
    socket.on("unexpected-response", (request, response) => {
      tell({ refused: response.statusCode });
      request.destroy();
    });
    socket.on("message", (data, binary) => tell({ message: data.toString(), binary }));
    socket.on("ping", () => tell({ ping: true }));
    socket.on("pong", (data) => tell({ pong: data.toString() }));
    socket.on("close", (code, reason) => tell({ closed: code, reason: reason.toString() }));
    socket.on("error", () => {}); // a close follows
  },
  send({ fragments, binary }) {
    fragments.forEach((text, i) => socket.send(binary ? Buffer.from(text) : text, { fin: i === fragments.length - 1, binary: !!binary, compress: false }));
  },
  ping({ payload }) {
    socket.ping(payload);
  },
  close({ code }) {
    socket.close(code);
  },
};

readline.createInterface({ input: process.stdin })
  .on("line", (line) => {
    const order = JSON.parse(line);
    orders[order.do](order);
  })
  .on("close", () => process.exit(0));
