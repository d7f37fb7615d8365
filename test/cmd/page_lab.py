"""Starts page_node, a node with a status page, and asks it things."""
import json
import os
import queue
import socket
import subprocess
import threading

BIN = os.path.join(os.environ.get("KM_BUILD_DIR", "build/dev"), "test", "page_node")
LIMIT = 120  # seconds; ends a test that hangs


class Node:
    def __init__(self, *args):
        self.child = subprocess.Popen([BIN, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        first = self.lines.get(timeout=LIMIT)
        assert first is not None, f"page_node ended at once: {self.child.wait(LIMIT)}"
        info = json.loads(first)
        self.port, self.id, self.friend = info["port"], info["id"], info["friend"]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def say(self, line):
        """A command; returns when it was obeyed."""
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        assert self.lines.get(timeout=LIMIT) == "ok\n"

    def close(self):
        """Ends it; its exit status."""
        if not self.child.stdin.closed:
            self.child.stdin.close()
        status = self.child.wait(LIMIT)
        self.child.stdout.close()
        return status

    def ask(self, path, method="GET", **fields):
        """A request of its own connection. Names of fields: Host, Sec_Fetch_Site."""
        with Connection(self) as connection:
            return connection.ask(path, method, **fields)

    def json(self, path):
        answer = self.ask(path)
        assert answer.status == 200, answer.status
        return json.loads(answer.body)


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    @property
    def text(self):
        return self.body.decode()

    @property
    def error(self):
        answer = json.loads(self.body)
        assert answer["ok"] is False
        return answer["error"]


class Connection:
    """One TCP connection, on which several requests may follow each other."""

    def __init__(self, node, host="127.0.0.1"):
        self.node = node
        self.socket = socket.create_connection((host, node.port), LIMIT)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def head(self):
        """Status and fields (a list of pairs) of an answer; None: it was closed."""
        first = self.file.readline().decode().split(" ", 2)
        if len(first) < 2:
            return None
        fields = []
        while (line := self.file.readline().decode().rstrip("\r\n")) != "":
            name, value = line.split(":", 1)
            fields.append((name.lower(), value.strip()))
        return int(first[1]), fields

    def answer(self, method="GET"):
        head = self.head()
        if head is None:
            return None
        fields = dict(head[1])
        size = 0 if method == "HEAD" else int(fields.get("content-length", "0"))
        return Answer(head[0], fields, self.file.read(size))

    def ask(self, path, method="GET", **fields):
        all_fields = {"Host": self.node.host, **{k.replace("_", "-"): v for k, v in fields.items()}}
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{k}: {v}" for k, v in all_fields.items() if v is not None]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return self.answer(method)

    def closed(self):
        """Waits until the other end closes; what came before that."""
        try:
            return self.file.read()
        except ConnectionResetError:
            return b""

    def events(self):
        """Server-sent events as (name, data); comments as (None, text)."""
        name = None
        for line in self.file:
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                yield None, line[1:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])


class Watcher(Connection):
    def __init__(self, node, **fields):
        super().__init__(node)
        self.first = self.ask("/events", Accept="text/event-stream", **fields)
        self.stream = self.events()

    def state(self, wanted=lambda state: True):
        """The next state for which that holds."""
        for name, data in self.stream:
            if name == "state" and wanted(data):
                return data
        raise AssertionError("the stream ended")
