#!/usr/bin/env python3
"""A counting endpoint that speaks PutRecords and PutRecordBatch, for the test of the image.

It takes everything, and marks each line it is sent: a line begins with the letter of its file
and its number in twelve digits. `GET /` tells the tally as JSON; `PUT /pause?seconds=N` makes
it answer nothing for so long, so that the agent's buffers fill. It checks no signature and no
limit: the endpoint of tests/it does.

    endpoint.py [CERTIFICATE KEY]    prints its port, and ends with its standard input
"""

import base64
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.seen = {}
        self.requests = self.lines = self.repeated = self.foreign = self.bytes = 0
        self.foreign_lines = []

    def add(self, payload):
        self.bytes += len(payload)
        for line in payload.removesuffix(b"\n").split(b"\n"):
            self.add_line(line)

    def add_line(self, line):
        self.lines += 1
        try:
            number = int(line[1:13])
        except ValueError:
            self.foreign += 1
            self.foreign_lines.append(line[:200].decode(errors="replace"))
            return
        marks = self.seen.setdefault(line[:1].decode(), bytearray())
        if len(marks) <= number:
            marks.extend(bytes(number + 1_000_000 - len(marks)))
        if marks[number]:
            self.repeated += 1
        marks[number] = 1

    def report(self):
        distinct = {letter: marks.count(1) for letter, marks in self.seen.items()}
        return {
            "requests": self.requests, "lines": self.lines, "bytes": self.bytes, "distinct": distinct,
            "repeated": self.repeated, "foreign": self.foreign, "foreignLines": self.foreign_lines[:3],
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tally = Tally()
    paused_until = 0.0

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with self.tally.lock:
            self.answer(self.tally.report())

    def do_PUT(self):
        Handler.paused_until = time.monotonic() + float(self.path.partition("=")[2])
        self.answer({})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        time.sleep(max(0.0, Handler.paused_until - time.monotonic()))
        operation = self.headers["x-amz-target"].partition(".")[2]
        if operation not in ("PutRecords", "PutRecordBatch"):
            return self.answer({"__type": "AccessDeniedException", "message": "only puts are allowed"}, 400)
        with self.tally.lock:
            self.tally.requests += 1
            for record in request["Records"]:
                self.tally.add(base64.b64decode(record["Data"]))
        count = len(request["Records"])
        if operation == "PutRecords":
            entry = {"SequenceNumber": "49", "ShardId": "shardId-000000000000"}
            return self.answer({"FailedRecordCount": 0, "Records": [entry] * count})
        return self.answer({"FailedPutCount": 0, "Encrypted": False, "RequestResponses": [{"RecordId": "r"}] * count})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # An agent that was killed, or that does not trust us, is a case of the test.
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


def main():
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) == 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
