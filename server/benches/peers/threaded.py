# A server like the original ones: one thread per connection.
import socket
import sys
import threading
import time


def serve(connection):
    connection.sendall(b"Welcome to the server\n")
    for command in connection.makefile("rb"):
        if command.strip().lower() == b"day":
            connection.sendall(time.strftime("%A\n").encode())
        else:
            connection.sendall(b"You entered an invalid command\n")
    connection.close()


host, port = sys.argv[1].split(":")
listener = socket.create_server((host, int(port)), backlog=1024)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
