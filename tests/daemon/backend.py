"""A backend: greets whoever connects and closes. `backend.py IP PORT`"""

import socket
import sys

listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1000)
while True:
    client, _ = listener.accept()
    client.sendall(b"page")
    client.close()
