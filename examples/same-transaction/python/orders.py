"""Orders whose effect and idempotency commit together: psycopg and nothing else.

    DATABASE_URL=postgres://... LISTEN=127.0.0.1:3000 python orders.py

Behind a gateway whose route says unknown = "transactional", every order is placed exactly once,
whatever crashes when: the row and the fact that the request took effect are one commit.
"""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from psycopg import IsolationLevel
from psycopg.errors import SerializationFailure

DATABASE = os.environ["DATABASE_URL"]
HOST, PORT = os.environ.get("LISTEN", "127.0.0.1:3000").rsplit(":", 1)
ISOLATION = IsolationLevel[os.environ.get("ISOLATION", "read committed").upper().replace(" ", "_")]
# A pause between the steps, for whoever wants to pull the plug just there.
PAUSE = float(os.environ.get("PAUSE_MS", "0")) / 1000

# What `hapax.commit` raises when another attempt has taken the operation over.
OVERTAKEN = "HX010"


def place(order, key, claim):
    """One transaction: the order, and the claim's commit with the answer that retries get."""
    # With autocommit the transaction is the block below, and nothing begins or ends one unseen.
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.isolation_level = ISOLATION
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO orders (key, item) VALUES (%s, %s) RETURNING id",
                (key, order["item"]),
            ).fetchone()
            answer = json.dumps({"order": row[0]})
            time.sleep(PAUSE)
            headers = json.dumps([["content-type", "application/json"]])
            connection.execute(
                "SELECT hapax.commit(%s, 201, %s::jsonb, %s)",
                (claim, headers, answer.encode()),
            )
            time.sleep(PAUSE)
        # Committed. What the client hears is what a retry would hear.
        time.sleep(PAUSE)
        return 201, answer


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key, claim = self.headers["idempotency-key"], self.headers["hapax-claim"]
        for _ in range(10):
            try:
                return self.answer(*place(order, key, claim))
            except SerializationFailure:
                # 40001: another transaction was first. Everything was undone; once more.
                continue
            except psycopg.Error as error:
                if error.sqlstate == OVERTAKEN:
                    # Undone as well: another attempt has the key, and its answer counts.
                    return self.answer(409, '{"error": "another attempt has this request"}')
                # Undone, or committed without our hearing of it: the gateway finds out which.
                return self.answer(503, '{"error": "the database is not there"}')
        return self.answer(503, '{"error": "too busy"}')

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer((HOST, int(PORT)), Orders)
    print(f"listening on http://{HOST}:{server.server_port}", flush=True)
    server.serve_forever()
