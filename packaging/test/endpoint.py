#!/usr/bin/env python3
"""PutRecords and PutRecordBatch on loopback: `endpoint.py FILE`.

Everything is accepted. The payload of each record goes to FILE as it is, with the name of its
stream, as a line of JSON, before the answer leaves: what was acknowledged is in the file. Checks
no signature; the endpoint of tests/it does that.
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 4567
lock = threading.Lock()
delivered = open(sys.argv[1], "a", encoding="utf-8")


def put(request):
    stream = request.get("StreamName") or request.get("DeliveryStreamName") or request["StreamARN"].rsplit("/", 1)[1]
    records = request["Records"]
    with lock:
        for record in records:
            payload = base64.b64decode(record["Data"]).decode("utf-8", "surrogateescape")
            delivered.write(json.dumps({"stream": stream, "payload": payload}) + "\n")
        delivered.flush()
    return records


def answer(operation, request):
    match operation:
        case "PutRecords":
            results = [{"SequenceNumber": str(n), "ShardId": "shardId-000000000000"} for n, _ in enumerate(put(request))]
            return 200, {"FailedRecordCount": 0, "Records": results}
        case "PutRecordBatch":
            results = [{"RecordId": str(n)} for n, _ in enumerate(put(request))]
            return 200, {"FailedPutCount": 0, "RequestResponses": results}
        case _:
            return 400, {"__type": "UnknownOperationException", "message": f"{operation} is not known here"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].rsplit(".", 1)[1]
        status, reply = answer(operation, json.loads(body))
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", PORT), Handler).serve_forever()
