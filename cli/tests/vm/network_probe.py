"""Runs in a guest, as root: tries to reach what it must not, politely and by frames of its own making.

Its arguments are two JSON lists of [address, port]: for polite attempts, and for frames. Prints a JSON object: how each polite attempt failed."""

import json
import socket
import struct
import sys

CARD = "eth0"
GUEST, GATEWAY = "10.0.2.15", "10.0.2.2"

polite, targets = map(json.loads, sys.argv[1:3])
outcome = {}
for address, port in polite:
    for kind, name in [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")]:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(30)
            try:
                s.connect((address, port))
                if kind == socket.SOCK_DGRAM:
                    s.send(b"hello")
                    s.recv(1)
                outcome[f"{name} {address} {port}"] = "reached"
            except OSError as error:
                outcome[f"{name} {address} {port}"] = error.errno or str(error)

# One that hears nothing, for what is sent; one for answers that no flood of others displaces.
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
raw.bind((CARD, 0))
mac = raw.getsockname()[4]
answers = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
answers.bind((CARD, 0x0806))
answers.settimeout(60)


def resolve():
    """The gateway's hardware address. Slirp answers once it is through with earlier frames."""
    ask = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + socket.inet_aton(GUEST)
    ask += bytes(6) + socket.inet_aton(GATEWAY)
    raw.send(b"\xff" * 6 + mac + b"\x08\x06" + ask)
    while True:
        frame = answers.recv(2000)
        if frame[20:22] == b"\0\2" and frame[:6] == mac:
            return frame[22:28]


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def packet(to, protocol, body, source=GUEST, options=b"", fragment=0):
    length = 20 + len(options) + len(body)
    first = 0x45 + len(options) // 4
    addresses = socket.inet_aton(source) + socket.inet_aton(to)
    head = struct.pack(">BBHHHBB", first, 0, length, 7, fragment, 64, protocol)
    sum_ = checksum(head + b"\0\0" + addresses + options)
    return head + struct.pack(">H", sum_) + addresses + options + body


def udp(port):
    return struct.pack(">HHHH", 4444, port, 13, 0) + b"hello"


def syn(to, port):
    body = struct.pack(">HHIIBBHHH", 4445, port, 1, 0, 0x50, 2, 1024, 0, 0)
    pseudo = socket.inet_aton(GUEST) + socket.inet_aton(to) + struct.pack(">BBH", 0, 6, len(body))
    return body[:16] + struct.pack(">H", checksum(pseudo + body)) + body[18:]


gateway = resolve()
plain = gateway + mac + b"\x08\x00"
tagged = gateway + mac + b"\x81\x00\0\0\x08\x00"
for address, port in targets:
    route = b"\x83\x07\x04" + socket.inet_aton(address) + b"\0"
    for frame in [
        plain + packet(address, 17, udp(port)),
        plain + packet(address, 6, syn(address, port)),
        tagged + packet(address, 17, udp(port)),
        plain + packet(address, 17, udp(port), source=GATEWAY),
        plain + packet(address, 17, udp(port), source=address),
        plain + packet(address, 17, udp(port), options=b"\1\1\1\0"),
        plain + packet(address, 17, udp(port), options=route),
        plain + packet("10.0.2.3", 17, udp(port), options=route),
        # In two parts, the ports in the first.
        plain + packet(address, 17, udp(port)[:8], fragment=0x2000),
        plain + packet(address, 17, udp(port)[8:], fragment=1),
    ]:
        raw.send(frame)
resolve()
print(json.dumps(outcome))
