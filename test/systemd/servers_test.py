"""km-relay and km-dns as their units run them, where systemd is process 1."""
import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import Machine, Unit, until  # noqa: E402

MACHINE = None
BIND_SERVICE = 1 << 10  # CAP_NET_BIND_SERVICE


def setUpModule():  # pylint: disable=invalid-name
    global MACHINE  # pylint: disable=global-statement
    MACHINE = Machine()
    unittest.addModuleCleanup(MACHINE.close)


def get(url, *words):
    """The body, and the status on a line of its own."""
    return MACHINE.run("curl", "--silent", "--show-error", "--max-time", "20", "--write-out",
                       "\n%{http_code}", *words, url)


class ServerCase(unittest.TestCase):
    """A server of `name`; no system call is refused to it without a trace, as it dies of that."""
    maxDiff = None
    name = config = None

    def setUp(self):
        self.unit = Unit(MACHINE, self.name)
        self.addCleanup(MACHINE.run, "systemctl", "disable", "--now", self.name)
        self.addCleanup(self.unit.unsettle)
        self.write(self.config)
        self.unit.settle("SystemCallErrorNumber=kill")

    def write(self, text):
        MACHINE.write(f"/etc/{self.name}/{self.name}.toml", text)

    def start(self):
        done = MACHINE.run("systemctl", "enable", "--now", self.name)
        self.assertEqual(done.status, 0, f"{done}\n{self.unit.journal()}")
        self.check_runs()

    def check_runs(self, restarts=0):
        self.assertEqual((self.unit.state, self.unit.restarts), ("active running", restarts),
                         self.unit.journal())

    def get(self, url, *words):
        done = get(url, *words)
        self.assertEqual(done.status, 0, f"{done}\n{self.unit.journal()}")
        body, _, status = done.out.rpartition("\n")
        self.assertEqual(status, "200", done)
        return body

    def certificate(self, name):
        """A key and a certificate for 127.0.0.1, for the group alone, as the manual says it."""
        folder = f"/etc/{self.name}/tls"
        MACHINE.run("mkdir", "--parents", folder)
        done = MACHINE.run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", f"{folder}/privkey.pem",
            "-out", f"{folder}/fullchain.pem")
        self.assertEqual(done.status, 0, done)
        MACHINE.run("chgrp", "--recursive", self.name, folder)
        MACHINE.run("chmod", "750", folder)
        MACHINE.run("chmod", "640", f"{folder}/privkey.pem", f"{folder}/fullchain.pem")

    def shown(self, port):
        """The name on the certificate that is shown there."""
        done = MACHINE.run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-brief")
        return next(line for line in done.err.splitlines() if "Peer certificate" in line)

    def check_shield(self):
        self.assertEqual(self.unit.shield(), ("1", "2", BIND_SERVICE, BIND_SERVICE))

    def check_stop(self):
        self.unit.do("stop")
        self.assertEqual((self.unit.state, self.unit.get("Result"),
                          self.unit.get("ExecMainStatus")), ("inactive dead", "success", "0"))
        self.assertNotIn("timed out", self.unit.journal())

    def check_killed(self):
        pid = self.unit.pid
        self.unit.ctl("kill", "--signal", "KILL", self.name)
        until("it runs again", lambda: self.unit.pid not in (0, pid)
              and self.unit.state == "active running")
        self.check_runs(restarts=1)

    def check_watchdog(self):
        self.unit.settle("SystemCallErrorNumber=kill\nWatchdogSec=1\nRestartSec=100ms")
        self.unit.do("restart")
        pid = self.unit.pid
        MACHINE.run("sleep", "3")
        self.check_runs()
        self.assertEqual(self.unit.pid, pid)
        self.unit.ctl("kill", "--signal", "STOP", self.name)
        until("it runs again", lambda: self.unit.pid not in (0, pid)
              and self.unit.state == "active running")
        self.unit.said("Watchdog timeout")


class Relay(ServerCase):
    name = "km-relay"
    config = 'http_bind_addr = "[::]:80"\nmetrics_bind_addr = "127.0.0.1:9090"\n'
    tls = config + ('[tls]\nmanual_cert_path = "/etc/km-relay/tls/fullchain.pem"\n'
                    'manual_key_path = "/etc/km-relay/tls/privkey.pem"\n')

    def test_load(self):
        self.start()
        self.check_shield()
        self.assertEqual(self.unit.get("User"), "km-relay")
        for _ in range(20):
            self.assertEqual(json.loads(self.get("http://localhost/healthz"))["status"], "ok")
        done = MACHINE.run("km-node", "relay", "ping", "http://localhost")
        self.assertEqual(done.status, 0, done)
        self.assertIn("relayserver_", self.get("http://127.0.0.1:9090/metrics"))
        for _ in range(3):  # dial over it, with data both ways
            self.check_relayed()
        self.unit.do("reload")
        self.unit.said("reloaded: access new")
        self.check_runs()
        self.check_killed()
        self.check_stop()

    def check_relayed(self):
        script = """
            how="--relay http://localhost --policy relay-only --no-discovery --no-port-mapping"
            km-node node1 $how --json > /tmp/node1 & child=$!
            until ticket=$(grep -o 'endpoint[a-z2-7]*' /tmp/node1); do sleep 0.1; done
            km-node node2 "${ticket%%[!a-z2-7]*}" $how --send hello --count 20
            status=$?
            kill $child
            exit $status
        """
        done = MACHINE.run("timeout", "40", "sh", "-c", script)
        self.assertEqual(done.status, 0, f"{done}\n{self.unit.journal()}")

    def test_certificate(self):
        self.certificate("first")
        self.write(self.tls)
        self.start()
        self.check_shield()
        done = MACHINE.run("km-node", "relay", "ping", "https://127.0.0.1", "--relay-ca",
                           "/etc/km-relay/tls/fullchain.pem")
        self.assertEqual(done.status, 0, done)
        self.assertIn("first", self.shown(443))
        self.certificate("second")
        self.unit.do("reload")
        until("the new one is shown", lambda: "second" in self.shown(443))
        # What is wrong changes nothing.
        self.write("access = 7\n")
        self.unit.do("reload")
        self.unit.said("reload-failed")
        self.check_runs()
        self.assertIn("second", self.shown(443))
        self.check_stop()

    def test_watchdog(self):
        self.start()
        self.check_watchdog()

    def test_refused_calls_are_seen(self):
        """What the other tests rely on: one that the filter refuses ends the process."""
        self.unit.settle("SystemCallErrorNumber=kill\nSystemCallFilter=~accept accept4\n"
                         "Restart=no")
        self.start()
        get("http://localhost/healthz")
        until("it has died", lambda: self.unit.state == "failed failed")
        self.unit.said("status=31/SYS")

    def test_user_of_the_moment(self):
        """Without a user of that name systemd makes one."""
        self.assertEqual(MACHINE.run("userdel", "km-relay").status, 0)
        self.addCleanup(MACHINE.run, "systemd-sysusers")
        self.start()
        user = MACHINE.read(f"/proc/{self.unit.pid}/status").split("Uid:\t")[1].split()[0]
        self.assertTrue(61184 <= int(user) <= 65519, user)
        self.assertEqual(json.loads(self.get("http://localhost/healthz"))["status"], "ok")
        self.check_stop()


class Dns(ServerCase):
    name = "km-dns"
    config = """
origins = ["dns.example.org"]
records = ["@ 60 NS ns1.dns.example.org.", "ns1.dns.example.org 60 A 192.0.2.1"]
[http]
bind = "127.0.0.1:8080"
[limits]
put_per_minute = 0
"""
    tls = config + ('[https]\nbind = "127.0.0.1:443"\ncert_file = "/etc/km-dns/tls/fullchain.pem"\n'
                    'key_file = "/etc/km-dns/tls/privkey.pem"\n')
    url = "http://127.0.0.1:8080/pkarr"

    def publish(self):
        """A packet; the id that it is found by."""
        MACHINE.run("rm", "--force", "/tmp/node.key")
        made = MACHINE.run("km-node", "key", "new", "--out", "/tmp/node.key", "--json")
        self.assertEqual(made.status, 0, made)
        done = MACHINE.run("km-node", "publish", "--key-file", "/tmp/node.key", "--pkarr", self.url,
                           "--addr", "192.0.2.7:7", "--publish-direct", "--mdns", "off")
        self.assertEqual(done.status, 0, f"{done}\n{self.unit.journal()}")
        return json.loads(made.out.splitlines()[0])["id"]

    def check_found(self, node_id, *words):
        done = MACHINE.run("km-node", "resolve", node_id, "--mdns", "off", *words)
        self.assertIn("192.0.2.7:7", done.out, f"{done}\n{self.unit.journal()}")

    def check_both(self, node_id):
        self.check_found(node_id, "--pkarr", self.url)
        self.check_found(node_id, "--dns-origin", "dns.example.org", "--dns-server", "127.0.0.1")

    def test_load(self):
        self.start()
        self.check_shield()
        for _ in range(20):
            self.assertEqual(json.loads(self.get("http://127.0.0.1:8080/healthz"))["status"], "ok")
        for _ in range(3):
            self.check_both(self.publish())
        self.check_dig()
        self.assertIn("kmdns_queries_total", self.get("http://127.0.0.1:9117/metrics"))
        self.unit.do("reload")
        self.check_runs()
        node_id = self.publish()
        self.check_killed()
        self.check_both(node_id)  # what was accepted is kept
        self.unit.do("restart")
        self.check_both(node_id)
        self.check_stop()

    def check_dig(self):
        if MACHINE.run("dig", "-v").status != 0:
            return
        for words in (), ("+tcp",), ("+dnssec", "+bufsize=1232"):
            done = MACHINE.run("dig", "@127.0.0.1", "dns.example.org", "NS", "+short", *words)
            self.assertEqual(done.out.split("\n")[0], "ns1.dns.example.org.", done)

    def test_certificate(self):
        self.certificate("first")
        self.write(self.tls)
        self.start()
        ca = "--cacert", "/etc/km-dns/tls/fullchain.pem"
        self.assertEqual(json.loads(self.get("https://127.0.0.1/healthz", *ca))["status"], "ok")
        self.certificate("second")
        self.unit.do("reload")
        until("the new one is shown", lambda: "second" in self.shown(443))
        self.check_runs()
        self.check_stop()

    def test_watchdog(self):
        self.start()
        self.check_watchdog()

    def test_data_stays(self):
        """The folder is kept when the user comes and goes."""
        self.assertEqual(MACHINE.run("userdel", "km-dns").status, 0)
        self.addCleanup(MACHINE.run, "systemd-sysusers")
        self.start()
        moment = self.owner()
        self.assertTrue(61184 <= moment <= 65519, moment)
        node_id = self.publish()
        self.check_stop()
        self.assertEqual(MACHINE.run("systemd-sysusers").status, 0)
        self.unit.do("start")
        self.assertNotEqual(self.owner(), moment)
        self.check_both(node_id)
        mode = os.stat(MACHINE.path("/var/lib/private/km-dns")).st_mode & 0o777
        self.assertEqual(mode, 0o700)
        MACHINE.run("systemctl", "disable", "--now", "km-dns")
        self.assertTrue(os.path.exists(MACHINE.path("/var/lib/private/km-dns/packets.db")))

    def owner(self):
        return os.stat(MACHINE.path("/var/lib/private/km-dns/packets.db")).st_uid

    def test_a_damaged_database_is_not_tried_again(self):
        self.start()
        self.check_stop()
        MACHINE.write("/var/lib/private/km-dns/packets.db", "this is no database\n" * 1000)
        self.addCleanup(shutil.rmtree, MACHINE.path("/var/lib/private/km-dns"))
        self.assertNotEqual(self.unit.ctl("start", self.name).status, 0)
        self.assertEqual((self.unit.state, self.unit.restarts, self.unit.get("ExecMainStatus")),
                         ("failed failed", 0, "3"))

    def test_it_tries_until_it_can(self):
        """An address that somebody else has for a while."""
        relay = Unit(MACHINE, "km-relay")
        MACHINE.write("/etc/km-relay/km-relay.toml", 'http_bind_addr = "127.0.0.1:8080"\n')
        self.addCleanup(relay.ctl, "stop", "km-relay")
        relay.do("start")
        self.unit.settle("RestartSec=50ms")
        self.assertNotEqual(self.unit.ctl("start", self.name).status, 0)
        until("more attempts than systemd's default limit", lambda: self.unit.restarts > 8)
        relay.do("stop")
        until("it runs", lambda: self.unit.state == "active running")


if __name__ == "__main__":
    unittest.main()
