"""What is measured: how each subject is installed and started, and which versions it has."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ALICE = "Authorization: Bearer alice"
BOB = "Authorization: Bearer bob"


@dataclass
class Subject:
    """One column of the table. `start` starts what it needs and returns the ports of the API and
    of the server that counts effects; `callers` returns the fields of two callers."""

    name: str
    title: str
    store: str
    install: callable
    start: callable
    versions: callable
    callers: callable = lambda port: ([ALICE], [BOB])
    needs: list = field(default_factory=list)


class Bench:
    """The folder and the processes of a run."""

    def __init__(self, work, hapax, target):
        self.work, self.hapax, self.target = work, hapax, target
        self.processes = []

    def run(self, command, folder, **variables):
        """Runs a command to its end; its output is shown when it fails."""
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, cwd=folder, env=environment, text=True, timeout=1800,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
        return done.stdout

    def spawn(self, command, folder):
        with open(self.work / "output.log", "a") as log:
            process = subprocess.Popen(
                [str(part) for part in command], cwd=folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.processes.append(process)

    def end(self):
        """Ends what was started, in the opposite order."""
        while self.processes:
            process = self.processes.pop()
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def node(folder):
    """Installs a Node project from its lock file; the order book lies beside it."""

    def install(bench):
        shutil.copy(HERE / "orders.mjs", bench.work)
        if not (bench.work / folder).exists():
            shutil.copytree(HERE / folder, bench.work / folder)
            bench.run(["npm", "ci", "--no-audit", "--no-fund"], bench.work / folder)

    return install


def node_server(folder, redis=False):
    def start(bench):
        port = free_port()
        command = ["node", "server.mjs", port]
        if redis:
            store = free_port()
            options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            bench.spawn(["redis-server", "--port", store, *options], bench.work)
            wait_for_port(store)
            command.append(f"redis://127.0.0.1:{store}")
        bench.spawn(command, bench.work / folder)
        return port, port

    return start


def node_versions(folder, unused="", redis=False):
    def versions(bench):
        wanted = json.loads((HERE / folder / "package.json").read_text())["dependencies"]
        names = [f"{name} {version}" for name, version in wanted.items() if name != unused]
        names.append("Node " + bench.run(["node", "--version"], bench.work).strip().lstrip("v"))
        if redis:
            told = bench.run(["redis-server", "--version"], bench.work)
            names.append("Redis " + told.split("v=")[1].split()[0])
        return names

    return versions


def start_gateway(bench):
    """Our gateway with its defaults and a file store, in front of the unprotected server."""
    upstream, _ = node_server("express")(bench)
    port, admin = free_port(), free_port()
    store = tempfile.mkdtemp(prefix="store-", dir=bench.work)
    command = [bench.hapax, "serve", "--upstream", f"http://127.0.0.1:{upstream}"]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    bench.spawn([*command, "--store", f"file:{store}"], bench.work)
    return port, upstream


def gateway_versions(bench):
    own = bench.run([bench.hapax, "--version"], bench.work).strip()
    return [own, *node_versions("express")(bench)]


def install_python(bench):
    folder = bench.work / "asgi-idempotency-header"
    shutil.copytree(HERE / folder.name, folder)
    bench.run([sys.executable, "-m", "venv", "venv"], folder)
    bench.run(["venv/bin/pip", "install", "--quiet", "-r", "requirements.txt"], folder)


def start_python(bench):
    port = free_port()
    folder = bench.work / "asgi-idempotency-header"
    bench.spawn([folder / "venv/bin/python", "server.py", port], folder)
    return port, port


def python_versions(bench):
    pins = (HERE / "asgi-idempotency-header/requirements.txt").read_text().split()
    named = [pin.replace("==", " ") for pin in pins]
    shown = ("asgi-idempotency-header", "starlette", "uvicorn")
    named = [pin for pin in named if pin.split()[0] in shown]
    return [*named, f"Python {sys.version.split()[0]}"]


def rust(folder):
    """Builds a Cargo project. Its crates may ask for a newer compiler than they need."""

    def install(bench):
        command = ["cargo", "build", "--locked", "--ignore-rust-version", "-j1"]
        bench.run(command, HERE / folder, CARGO_TARGET_DIR=str(bench.target))

    return install


def rust_server(folder):
    def start(bench):
        port = free_port()
        bench.spawn([bench.target / "debug" / f"peer-{folder}", port], bench.work)
        return port, port

    return start


def rust_versions(folder, *shown):
    def versions(bench):
        lock = tomllib.loads((HERE / folder / "Cargo.lock").read_text())
        found = {entry["name"]: entry["version"] for entry in lock["package"]}
        compiler = bench.run(["rustc", "--version"], HERE / folder).split()[1]
        return [f"{name} {found[name]}" for name in shown] + [f"rustc {compiler}"]

    return versions


def session_callers(port):
    """Two callers with a session each, for a layer that keeps its records there."""
    fields = []
    for caller in (ALICE, BOB):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/session", method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            cookie = answer.headers["Set-Cookie"].split(";")[0]
        fields.append([caller, f"Cookie: {cookie}"])
    return tuple(fields)


def wait_for_port(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


CORE = "node-idempotency"
NODE = ["node", "npm"]

SUBJECTS = [
    Subject(
        "express", "no layer", "none",
        node("express"), node_server("express"), node_versions("express"), needs=NODE,
    ),
    Subject(
        "hapax", "Hapax gateway", "file",
        node("express"), start_gateway, gateway_versions, needs=NODE,
    ),
    Subject(
        "idempotent", "idempotent", "memory",
        rust("idempotent"), rust_server("idempotent"),
        rust_versions("idempotent", "idempotent", "axum"), needs=["cargo"],
    ),
    Subject(
        "axum-idempotent", "axum-idempotent", "memory",
        rust("axum-idempotent"), rust_server("axum-idempotent"),
        rust_versions("axum-idempotent", "axum-idempotent", "ruts", "axum"),
        session_callers, needs=["cargo"],
    ),
    Subject(
        CORE, "@node-idempotency/core", "memory",
        node(CORE), node_server(CORE),
        node_versions(CORE, unused="@node-idempotency/storage-adapter-redis"), needs=NODE,
    ),
    Subject(
        CORE + "-redis", "@node-idempotency/core", "Redis",
        node(CORE), node_server(CORE, redis=True),
        node_versions(CORE, unused="@node-idempotency/storage-adapter-memory", redis=True),
        needs=[*NODE, "redis-server"],
    ),
    Subject(
        "express-idempotency", "express-idempotency", "memory",
        node("express-idempotency"), node_server("express-idempotency"),
        node_versions("express-idempotency"), needs=NODE,
    ),
    Subject(
        "asgi-idempotency-header", "asgi-idempotency-header", "memory",
        install_python, start_python, python_versions,
    ),
]
