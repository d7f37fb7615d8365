"""An empty store is filled by a synchronization between two daemons on loopback: once by the author
of the entries, once by somebody who only has them, so that every signature is verified first."""
import contextlib
import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../cmd"))


class Place(contextlib.ExitStack):
    """What a daemon_lab.Node wants of a test case: a folder, and an end."""

    def __init__(self, folder):
        super().__init__()
        self.folder = self.enter_context(tempfile.TemporaryDirectory(dir=folder))

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, cls, *args, **more):
        process = cls(*args, **more)
        self.callback(process.end)
        return process


def lines(count, value_len):
    for number in range(count):
        yield json.dumps({"share": "docs", "key": f"part/{number * 0x9e3779b97f4a7c15 % 2**64:016x}",
                          "value": f"{number:0{value_len}d}"}) + "\n"


def cpu_seconds(node):
    with open(f"/proc/{node.daemon.child.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pull(node, source, count):
    """Starts `node`; how long it takes from being connected to having them all."""
    before = cpu_seconds(source)
    node.start()
    while not (event := node.daemon.event("peer"))["connected"]:
        pass
    assert event["id"] == source.id, event
    begin = time.monotonic()
    received = 0
    while received < count:
        event = node.daemon.event("sync")
        assert event["error"] is None, event
        received += event["received"]
    seconds = time.monotonic() - begin
    cpu = cpu_seconds(node) + cpu_seconds(source) - before
    assert node.hash() == source.hash()
    return {"per_second": count / seconds, "per_cpu_second": count / cpu}


def measure(options):
    """{peer: members}"""
    os.environ["KM_BIN_DIR"] = options.bin_dir
    import daemon_lab  # pylint: disable=import-outside-toplevel
    with Place(options.folder) as place:
        author, reader, last = (daemon_lab.Node(place, name, others="rw")
                                for name in ("author", "reader", "last"))
        for to, source in ((reader, author), (last, reader)):
            to.knows(source)
            source.knows(to, dial=False)
        done = author.run("kv", "import", "docs",
                          stdin="".join(lines(options.count, options.value)).encode())
        assert done.status == 0, done.err
        author.start()
        own = pull(reader, author, options.count)
        author.stop()
        return {"own": own, "others": pull(last, reader, options.count)}
