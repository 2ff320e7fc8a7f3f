"""A server that does as its clients say, in their first line. `server.py IP PORT`"""

import os
import signal
import socket
import sys
import threading

listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1000)
print("listening", flush=True)


def line_of(client):
    line = b""
    while not line.endswith(b"\n"):
        line += client.recv(1) or b"\n"
    return line.decode().split() or [""]


def serve(client):
    word, *rest = line_of(client)
    if word == "echo":
        while some := client.recv(4096):
            client.sendall(some)
    elif word == "pid":
        client.sendall(b"%d" % os.getpid())
    elif word == "signal":
        os.kill(os.getpid(), int(rest[0]))
        signal.pause()
    elif word == "exit":
        os._exit(int(rest[0]))
    elif word == "answer":
        client.sendall(b"x" * int(rest[0]))
        client.close()
        os._exit(0)
    client.close()


while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
