"""Runs in a guest: talks to the server that plays the public internet, by address and by name.

Arguments: its address, a name that its name server resolves. What was downloaded goes back."""

import socket
import sys

address, name = sys.argv[1:3]
assert socket.gethostbyname(name) == address, "the name resolves"
content = bytearray()
with socket.create_connection((name, 8001), 60) as s:
    while part := s.recv(1 << 18):
        content += part
with socket.create_connection((address, 8002), 60) as s:
    s.sendall(content)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b"", "the server has it all"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(60)
    for size in [1, 1472]:
        s.sendto(b"x" * size, (address, 8003))
        assert s.recv(2000) == b"x" * size, "a datagram comes back"
print(len(content))
