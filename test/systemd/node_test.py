"""km-node install, service and uninstall where systemd is process 1."""
import itertools
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import Machine, Unit, until  # noqa: E402

MACHINE = None
NUMBERS = itertools.count(1)
OK, FAILED, USAGE = range(3)
SOMEBODY = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


def setUpModule():  # pylint: disable=invalid-name
    global MACHINE  # pylint: disable=global-statement
    MACHINE = Machine()
    unittest.addModuleCleanup(MACHINE.close)
    for user in "mesh", "alice":
        done = MACHINE.run("useradd", "--create-home", "--shell", "/bin/sh", user)
        assert done.status == 0, done


class Node:
    """A project and its service, of the machine or of `owner`."""

    def __init__(self, test, folder, owner="mesh", system=True, name=None, **settings):
        name = name or f"km-{next(NUMBERS)}"  # so that each has a journal of its own
        self.dir, self.owner, self.system = folder, owner, system
        self.as_user = None if system else owner
        self.unit = Unit(MACHINE, name, self.as_user)
        made = MACHINE.run("km-node", "init", folder, "--name", name, "--json", user=self.as_user)
        assert made.status == OK, made
        self.id = json.loads(made.out.splitlines()[0])["id"]
        self.set(bind_host="127.0.0.1", mdns=False, port_mapping=False, port=0, **settings)
        if owner:
            MACHINE.run("chown", "--recursive", f"{owner}:", folder)
        test.addCleanup(self.remove)

    @property
    def config(self):
        return os.path.join(self.dir, "keymesh.yaml")

    def set(self, **changes):
        """Changes lines of keymesh.yaml, each of a key that stands there once."""
        lines = []
        for line in MACHINE.read(self.config).splitlines():
            key = line.split(":")[0].lstrip(" -")
            if not line.lstrip().startswith("#") and key in changes:
                line = f"{line.split(':')[0]}: {json.dumps(changes.pop(key))}"
            lines.append(line)
        assert not changes, f"not in keymesh.yaml: {changes}"
        MACHINE.write(self.config, "\n".join(lines) + "\n")

    def run(self, *words):
        return MACHINE.run("km-node", *words, "--config", self.dir, user=self.as_user)

    def install(self, *words):
        return self.run("install", "--name", self.unit.name, *words)

    def uninstall(self):
        return MACHINE.run("km-node", "uninstall", "--name", self.unit.name, user=self.as_user)

    def service(self, *words):
        return self.run("service", *words, "--name", self.unit.name)

    def remove(self):
        self.uninstall()
        self.unit.unsettle()
        MACHINE.run("rm", "-r", self.dir)


class NodeCase(unittest.TestCase):
    maxDiff = None

    def node(self, folder="/srv/mesh", *words, **settings):
        """One that is installed, and runs."""
        node = Node(self, folder, **settings)
        done = node.install(*words)
        self.assertEqual(done.status, OK, done)
        self.assertIn("started", done.out, node.unit.journal())
        return node

    def check_runs(self, node):
        self.assertEqual(node.unit.state, "active running", node.unit.journal())
        done = node.run("status", "--json")
        self.assertEqual(done.status, OK, done)

    def check_value(self, node, value):
        self.assertEqual(node.run("kv", "get", "common", "key").out, value)

    def put(self, node, value):
        done = node.run("kv", "put", "common", "key", value)
        self.assertEqual(done.status, OK, done)


class Lifecycle:
    """What is the same for a service of the machine and of a user."""

    def test_installed(self):
        node = self.new()
        self.check_runs(node)
        self.assertEqual(node.unit.get("Type"), "notify")
        self.assertEqual(node.unit.get("WatchdogUSec"), "30s")
        self.assertEqual(node.unit.ctl("is-enabled", node.unit.name).out, "enabled\n")
        done = node.service("status", "--json")
        self.assertEqual(done.status, OK, done)
        event = json.loads(done.out)
        self.assertEqual((event["installed"], event["state"], event["scope"]),
                         (True, "active", "system" if node.system else "user"))
        self.assertIn("mesh ready", node.service("logs").out)
        node.unit.said("Started")

    def test_installed_again(self):
        """The service runs with what is written now."""
        node = self.new()
        self.put(node, "kept")
        pid = node.unit.pid
        self.assertIn("started", node.install().out)
        self.check_runs(node)
        self.assertNotEqual(node.unit.pid, pid)
        self.check_value(node, "kept")

    def test_restart(self):
        node = self.new()
        self.put(node, "kept")
        pid = node.unit.pid
        node.unit.do("restart")
        self.check_runs(node)
        self.assertNotEqual(node.unit.pid, pid)
        self.assertEqual(node.unit.restarts, 0)
        self.check_value(node, "kept")

    def test_reload(self):
        node = self.new()
        pid = node.unit.pid
        node.set(backoff=[5], block=[SOMEBODY])
        node.unit.do("reload")
        self.assertRegex(node.service("logs").out, "reloaded .*restart_needed=yes")
        # A mistake is told to who asked, and changes nothing.
        node.set(heartbeat_sec="often")
        self.assertNotEqual(node.unit.ctl("reload", node.unit.name).status, 0)
        node.unit.said("heartbeat_sec")
        self.check_runs_on(node, pid)

    def check_runs_on(self, node, pid):
        self.assertEqual((node.unit.state, node.unit.pid), ("active running", pid))

    def test_killed(self):
        node = self.new()
        self.put(node, "kept")
        pid = node.unit.pid
        node.unit.ctl("kill", "--signal", "KILL", node.unit.name)
        until("it runs again", lambda: node.unit.pid not in (0, pid)
              and node.unit.state == "active running")
        self.assertEqual(node.unit.restarts, 1)
        self.check_value(node, "kept")

    def test_watchdog(self):
        node = self.new()
        node.unit.settle("WatchdogSec=1\nRestartSec=100ms")
        node.unit.do("restart")
        pid = node.unit.pid
        MACHINE.run("sleep", "3")  # three times as long as it may be silent
        self.check_runs_on(node, pid)
        self.assertEqual(node.unit.restarts, 0)
        node.unit.ctl("kill", "--signal", "STOP", node.unit.name)
        until("it runs again", lambda: node.unit.pid not in (0, pid)
              and node.unit.state == "active running")
        node.unit.said("Watchdog timeout")

    def test_stop(self):
        node = self.new()
        node.unit.do("stop")
        self.assertEqual(node.unit.state, "inactive dead")
        self.assertEqual((node.unit.get("Result"), node.unit.get("ExecMainCode"),
                          node.unit.get("ExecMainStatus")), ("success", "1", "0"))
        self.assertNotIn("timed out", node.unit.journal())
        self.assertIn("endpoint closed", node.service("logs").out)
        self.assertFalse(os.path.exists(MACHINE.path(f"{node.dir}/run/control.sock")))
        done = node.service("status", "--json")
        self.assertEqual((done.status, json.loads(done.out)["state"]), (FAILED, "inactive"))

    def test_stopped_by_itself(self):
        """`km-node stop` is no failure: systemd leaves it at that."""
        node = self.new()
        self.assertEqual(node.run("stop").status, OK)
        until("it has ended", lambda: node.unit.state == "inactive dead")
        self.assertEqual((node.unit.get("Result"), node.unit.restarts), ("success", 0))

    def test_journal(self):
        node = self.new(file=None)
        node.unit.said("mesh ready")
        done = node.service("logs", "--lines", "1000")
        self.assertEqual(done.status, OK, done)
        self.assertIn("mesh ready", done.out)
        self.assertIn("Started", done.out)
        done = node.service("logs", "--json", "--lines", "2")
        self.assertEqual(len([json.loads(line)["MESSAGE"] for line in done.out.splitlines()]), 2)

    def test_uninstalled(self):
        node = self.new()
        self.assertEqual(node.uninstall().status, OK)
        self.check_gone(node)
        self.assertTrue(os.path.exists(MACHINE.path(node.config)))

    def test_uninstalled_after_failing(self):
        node = self.new()
        node.unit.settle("Restart=no")
        node.unit.do("restart")
        node.unit.ctl("kill", "--signal", "KILL", node.unit.name)
        until("it has failed", lambda: node.unit.state == "failed failed")
        done = node.service("status", "--json")
        self.assertEqual((done.status, json.loads(done.out)["state"]), (FAILED, "failed"))
        node.unit.unsettle()
        self.assertEqual(node.uninstall().status, OK)
        self.check_gone(node)

    def check_gone(self, node):
        self.assertEqual(node.unit.get("LoadState"), "not-found")
        self.assertNotIn(node.unit.name, node.unit.ctl("list-units", "--all", "--failed").out)
        self.assertNotIn(node.unit.name, node.unit.ctl("list-unit-files").out)
        found = MACHINE.run("find", "/etc/systemd", "/run/systemd", "/home/alice/.config",
                            "-name", f"{node.unit.name}.service*").out
        self.assertEqual(found, "")
        self.assertEqual(MACHINE.run("pgrep", "-x", "km-node").out, "")

    def test_what_it_lacks_is_told(self):
        node = Node(self, self.folder, **self.of, file="/var/log/missing/a.log")
        done = node.install()
        self.assertEqual(done.status, OK, done)
        self.assertIn("It was not started. Why: journalctl", done.out)
        node.unit.said("cannot write the log /var/log/missing/a.log")

    def test_it_tries_until_it_can(self):
        """A port that another program has for a while; as an address that comes late."""
        holder = self.new()
        port = int(re.search(r"127\.0\.0\.1:(\d+)", holder.run("status").out)[1])
        late = Node(self, f"{self.folder}-2", **self.of, name="km-late", listen_port=port)
        late.unit.settle("RestartSec=50ms")
        self.assertIn("It was not started", late.install().out)
        until("more attempts than systemd's default limit", lambda: late.unit.restarts > 8)
        holder.unit.do("stop")
        until("it runs", lambda: late.unit.state == "active running")


class OfTheMachine(Lifecycle, NodeCase):
    folder, of = "/srv/mesh", {}

    def new(self, **settings):
        return self.node(**settings)

    def test_what_it_may(self):
        node = self.new()
        self.assertEqual(node.unit.get("User"), "mesh")
        self.assertEqual(node.unit.shield(), ("1", "2", 0, 0))

        def touch(path):
            return MACHINE.run("nsenter", "--target", str(node.unit.pid), "--mount", "touch",
                               path).status
        self.assertEqual(touch("/srv/mesh/file"), 0)
        for path in "/srv/file", "/etc/file", "/home/mesh/file", "/var/lib/file":
            self.assertNotEqual(touch(path), 0, path)
        self.assertEqual(touch("/tmp/of-its-own"), 0)
        self.assertFalse(os.path.exists(MACHINE.path("/tmp/of-its-own")))

    def test_it_comes_with_the_machine(self):
        node = self.new()
        node.unit.do("stop")
        self.assertEqual(MACHINE.run("systemctl", "start", "multi-user.target").status, 0)
        until("it runs", lambda: node.unit.state == "active running")

    def test_places(self):
        for folder in ("/tmp/mesh", "/var/tmp/mesh", "/home/mesh/mesh", '/srv/my "mesh" 100% $HOME',
                       "/srv/m\u00e9sh"):
            with self.subTest(folder):
                node = self.node(folder)
                self.check_runs(node)
                node.unit.do("reload")
                node.remove()

    def test_of_root(self):
        node = Node(self, "/var/lib/mesh", owner=None)
        self.assertIn("run as root", node.install().out)
        self.check_runs(node)
        self.assertEqual(node.unit.shield(), ("1", "2", 0, 0))

    def test_low_ports(self):
        node = self.node(listen_port=443)
        self.check_runs(node)
        self.assertIn("127.0.0.1:443", node.run("status").out)
        self.assertEqual(node.unit.shield(), ("1", "2", 1 << 10, 1 << 10))


class OfAUser(Lifecycle, NodeCase):
    folder, of = "/home/alice/mesh", {"owner": "alice", "system": False}

    def setUp(self):
        MACHINE.run("loginctl", "enable-linger", "alice")
        until("her systemd is up", lambda: MACHINE.run("systemctl", "--user", "is-system-running",
                                                       user="alice").out == "running\n")

    def new(self, **settings):
        return self.node("/home/alice/mesh", **self.of, **settings)

    def test_what_it_may(self):
        node = self.new()
        grants = node.unit.shield()
        self.assertEqual(grants[:3], ("1", "2", 0))

    def test_it_comes_with_the_machine(self):
        node = self.new()
        self.assertNotIn("enable-linger", node.install().out)
        user = MACHINE.run("id", "--user", "alice").out.strip()
        self.assertEqual(MACHINE.run("systemctl", "stop", f"user@{user}.service").status, 0)
        self.assertEqual(MACHINE.run("pgrep", "-x", "km-node").out, "")
        self.assertEqual(MACHINE.run("systemctl", "start", f"user@{user}.service").status, 0)
        until("it runs", lambda: node.unit.state == "active running")

    def test_it_goes_with_the_user(self):
        MACHINE.run("loginctl", "disable-linger", "alice")
        MACHINE.run("loginctl", "terminate-user", "alice")
        node = Node(self, "/home/alice/mesh", **self.of)
        self.assertIn("loginctl enable-linger", node.install().out)

    def test_without_a_login(self):
        """As with cron and sudo -u: no XDG_RUNTIME_DIR."""
        node = Node(self, "/home/alice/mesh", **self.of, name="km-node")

        def run(*words):
            return MACHINE.run("km-node", *words, user="alice", login=False)
        self.assertIn("started", run("install", "--config", node.dir).out)
        self.check_runs(node)
        self.assertIn("state    active", run("service", "status", "--config", node.dir).out)
        self.assertEqual(run("uninstall").status, OK)
        self.check_gone(node)


class Mesh(NodeCase):
    def test_two_services(self):
        """Of the machine and of a user; a forbidden system call would kill the first one."""
        a = Node(self, "/srv/mesh", listen_port=51888, heartbeat_sec=1)
        b = Node(self, "/home/alice/mesh", owner="alice", system=False, on_message=
                 "cat > message.json", backoff=[1], heartbeat_sec=1)
        a.set(peers=[{"id": b.id, "shares_access": [{"share": "common", "mode": "rw"}]}])
        b.set(peers=[{"id": a.id, "addr": "127.0.0.1:51888",
                      "shares_access": [{"share": "common", "mode": "rw"}]}])
        a.unit.settle("SystemCallErrorNumber=kill")
        for node in a, b:
            self.assertIn("started", node.install().out, node.unit.journal())
        self.put(a, "from the machine")
        until("it has come", lambda: b.run("kv", "get", "common", "key").out == "from the machine")
        self.put(b, "from a user")
        until("it has come", lambda: a.run("kv", "get", "common", "key").out == "from a user")
        self.assertEqual(a.run("send", b.id, "note", '{"text": "hello"}').status, OK)
        until("the hook has run", lambda: os.path.exists(
            MACHINE.path("/home/alice/mesh/message.json")))
        for words in (["peers"], ["doctor"], ["health"], ["messages"]):
            a.run(*words)
        a.unit.do("reload")
        self.assertEqual((a.unit.state, a.unit.restarts), ("active running", 0), a.unit.journal())
        a.unit.do("stop")
        self.assertEqual(a.unit.get("Result"), "success")


if __name__ == "__main__":
    unittest.main()
