#!/usr/bin/env python3
"""A receiver of webhooks. Usage: webhook_receiver.py PORT CERT KEY SECRET_FILE MODE_FILE DOCS/webhook.md

Verifies each request with the function that the documentation shows, and writes a JSON line for each to its output. MODE_FILE
says how it behaves: ok, error, redirect, refuse, slow (answers nothing), endless_body, endless_header."""
import http.server
import json
import pathlib
import re
import ssl
import sys
import threading

port, cert, key, secret_file, mode_file, documentation = sys.argv[1:]
shown = re.search(r"```python\n(.*?)```", pathlib.Path(documentation).read_text(), re.S)
verifier = {}
exec(shown.group(1), verifier)  # what readers are told to use
verify = verifier["verify"]
secret = pathlib.Path(secret_file).read_bytes().splitlines()[0]
never = threading.Event()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signature = self.headers["Pgleash-Signature"]
        stamp = int(signature.split(",")[0].removeprefix("t="))
        mode = pathlib.Path(mode_file).read_text().strip()
        print(json.dumps({
            "mode": mode,
            "path": self.path,
            "delivery": self.headers["Pgleash-Delivery"],
            "verified": verify(secret, body, signature),
            "verified_changed": verify(secret, body + b" ", signature),
            "verified_later": verify(secret, body, signature, now=stamp + 301),
            "body": body.decode(),
        }), flush=True)
        if mode == "slow":
            never.wait(60)
        elif mode == "redirect":
            self.send_response(307)
            self.send_header("Location", f"https://localhost:{port}/elsewhere")
            self.end_headers()
        elif mode.startswith("endless"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if mode == "endless_body" else b""))
            while True:
                self.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")
        else:
            self.send_response({"ok": 204, "error": 500, "refuse": 422}[mode])
            self.end_headers()

    do_GET = do_POST

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", int(port)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(json.dumps({"ready": True}), flush=True)
server.serve_forever()
