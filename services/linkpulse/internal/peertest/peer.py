"""A WebSocket client for the tests of the gateway, on the package websockets.

Orders are lines of JSON on standard input, and what happens is told as lines of JSON on standard output; peertest.go has
both.
"""

import contextlib
import json
import sys
import threading

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

lock = threading.Lock()


def tell(**event):
    with lock:
        print(json.dumps(event), flush=True)


def listen(socket):
    try:
        while True:
            message = socket.recv()
            if isinstance(message, bytes):
                tell(message=message.decode(errors="replace"), binary=True)
            else:
                tell(message=message)
    except ConnectionClosed as closed:
        got = closed.rcvd
        tell(closed=got.code if got else 1006, reason=got.reason if got else "")


def await_pong(pong, payload):
    if pong.wait(30):
        tell(pong=payload)


def main():
    connections = contextlib.ExitStack()  # never left: the process ends without a word to its peers
    socket = None
    for line in sys.stdin:
        order = json.loads(line)
        match order["do"]:
            case "connect":
                try:
                    socket = connections.enter_context(
                        connect(order["url"], additional_headers=order["headers"], ping_interval=None)
                    )
                except InvalidStatus as refused:
                    tell(refused=refused.response.status_code)
                    continue
                extensions = ",".join(e.name for e in socket.protocol.extensions)
                tell(open=True, extensions=extensions, subprotocol=socket.subprotocol or "")
                threading.Thread(target=listen, args=(socket,), daemon=True).start()
            case "send":
                fragments = order["fragments"]
                if order.get("binary"):
                    fragments = [f.encode() for f in fragments]
                socket.send(fragments[0] if len(fragments) == 1 else fragments)
            case "ping":
                pong = socket.ping(order["payload"])
                threading.Thread(target=await_pong, args=(pong, order["payload"]), daemon=True).start()
            case "close":
                threading.Thread(target=socket.close, args=(order["code"],), daemon=True).start()


main()
