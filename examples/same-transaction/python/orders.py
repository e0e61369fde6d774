"""Orders whose effect and idempotency commit together: psycopg and nothing else.

    DATABASE_URL=postgres://... LISTEN=127.0.0.1:3000 python orders.py

Behind a gateway whose route says unknown = "transactional", every order is placed exactly once,
whatever crashes when: the row and the fact that the request took effect are one commit.
"""

import hashlib
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from psycopg import IsolationLevel
from psycopg.errors import IntegrityError, SerializationFailure, UniqueViolation

DATABASE = os.environ["DATABASE_URL"]
HOST, PORT = os.environ.get("LISTEN", "127.0.0.1:3000").rsplit(":", 1)
ISOLATION = IsolationLevel[os.environ.get("ISOLATION", "read committed").upper().replace(" ", "_")]
# A pause between the steps, for whoever wants to pull the plug just there.
PAUSE = float(os.environ.get("PAUSE_MS", "0")) / 1000

# What `hapax.commit` raises when another attempt has taken the operation over.
OVERTAKEN = "HX010"


def place(order, caller, key, claim):
    """One transaction: the order with its charge, and the claim's commit with the answer that
    retries get."""
    # With autocommit the transaction is the block below, and nothing begins or ends one unseen.
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.isolation_level = ISOLATION
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO orders (caller, key, item) VALUES (%s, %s, %s) RETURNING id",
                (caller, key, order["item"]),
            ).fetchone()
            connection.execute(
                "INSERT INTO charges (order_id, cents) VALUES (%s, %s)", (row[0], 100)
            )
            answer = json.dumps({"order": row[0]})
            time.sleep(PAUSE)
            commit(connection, claim, answer)
            time.sleep(PAUSE)
        # Committed. What the client hears is what a retry would hear.
        time.sleep(PAUSE)
        return 201, answer


def find(order, caller, key, claim):
    """The order that this caller has placed under this key before, longer ago than the gateway
    remembers: its answer again, which the gateway keeps from now on."""
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        with connection.transaction():
            row = connection.execute(
                "SELECT id, item FROM orders WHERE caller = %s AND key = %s", (caller, key)
            ).fetchone()
            if row is None:
                return 503, '{"error": "the order is just being removed"}'
            if row[1] != order["item"]:
                return 422, '{"error": "another order has this key"}'
            answer = json.dumps({"order": row[0]})
            commit(connection, claim, answer)
        return 201, answer


def commit(connection, claim, answer):
    headers = json.dumps([["content-type", "application/json"]])
    connection.execute(
        "SELECT hapax.commit(%s, 201, %s::jsonb, %s)", (claim, headers, answer.encode())
    )


def attempt(*request):
    try:
        return place(*request)
    except UniqueViolation:
        # The last line of defence: the order is there. A retry that nobody else knew for one.
        return find(*request)


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        # Who calls, as the gateway sees it: keys of two callers have nothing to do with each other.
        caller = self.headers.get("authorization", "anonymous")
        caller = hashlib.sha256(caller.encode()).hexdigest()
        key, claim = self.headers["idempotency-key"], self.headers["hapax-claim"]
        for _ in range(10):
            try:
                return self.answer(*attempt(order, caller, key, claim))
            except SerializationFailure:
                # 40001: another transaction was first. Everything was undone; once more.
                continue
            except IntegrityError:
                # Another rule of the tables: this order is wrong however often it is sent.
                return self.answer(422, '{"error": "no order that can be placed"}')
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
