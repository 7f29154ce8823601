"""HTTP/2 and gRPC for Check, without grpcio: frames in, calls out, answers back (DECISIONS.md 66).

frames.py       what stands on the wire, and what is wrong with it
framing.py      frames out of bytes, header blocks whole
heads.py        what header blocks say: HPACK by the `hpack` package, remembered while nothing changes
connection.py   one connection: streams, settings, what a peer may not do; stream.py, sending.py
calls.py        gRPC over it: methods, messages, statuses; health.py
server.py       the socket, TLS, and stopping
"""
