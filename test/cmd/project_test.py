"""A project's folder: init, check, list-shares, install, service, cert import, security."""
import datetime
import hashlib
import os
import plistlib
import pty
import re
import select
import shutil
import socket
import stat
import subprocess
import unittest

import vectors
from lab import (BIN, FAILED, LIMIT, OK, UNREACHABLE, USAGE, WRAPPER, Case, main, own_ports,
                 run)

ID = vectors.keys()[0]["id"]
OTHER = vectors.keys()[1]["id"]


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Project(Case):
    """A test with a project in its folder."""

    def setUp(self):
        super().setUp()
        self.dir = self.path("mesh")
        self.made = run("init", self.dir, "--name", "host-A", "--json")
        self.assertEqual(self.made.status, OK, self.made.out + self.made.err)
        self.config = os.path.join(self.dir, "keymesh.yaml")
        self.key = os.path.join(self.dir, "keys/node.key")
        self.id = self.made.event("init")["id"]

    def write(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, *args, **more):  # what unittest calls with a result, too
        if args and isinstance(args[0], str):
            return run(*args, "--config", self.dir, **more)
        return super().run(*args, **more)

    def rows(self, result, level, topic=None):
        return [row for row in result.events if row["event"] == "check" and row["level"] == level
                and topic in (None, row["topic"])]

    def check(self, status, **more):
        result = self.run("check", "--json", **more)
        self.assertEqual(result.status, status, result.out + result.err)
        self.assertEqual(result.err, "")
        summary = result.event("summary")
        self.assertEqual(summary["errors"], len(self.rows(result, "error")))
        self.assertEqual(summary["warnings"], len(self.rows(result, "warning")))
        return result

    def one(self, result, level, topic, *words):
        """The only row of that level and topic has these words."""
        found = self.rows(result, level, topic)
        self.assertEqual(len(found), 1, result.out)
        for word in words:
            self.assertIn(word, found[0]["text"] + " " + found[0].get("hint", ""))
        return found[0]


class Ports(Project):
    """What another program has of them."""

    def setUp(self):
        super().setUp()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        for one in self.udp, self.tcp:
            self.addCleanup(one.close)
            one.bind(("127.0.0.1", 0))
        self.tcp.listen()

    def config_of(self, host="127.0.0.1", port=0, page=0):
        self.write(f"node: {{id: a, bind_host: {host}, listen_port: {port}}}\n"
                   f"status_http: {{port: {page}}}\n")

    def test_taken(self):
        udp, tcp = self.udp.getsockname()[1], self.tcp.getsockname()[1]
        self.config_of(port=udp)
        self.one(self.check(FAILED), "error", "port", f"UDP port 127.0.0.1:{udp}", "listen_port")
        self.config_of(page=tcp)
        self.one(self.check(FAILED), "error", "port", f"TCP port 127.0.0.1:{tcp}", "status_http.port")
        self.udp.close()
        self.tcp.close()
        self.config_of(port=udp, page=tcp)
        self.check(OK)

    def test_not_of_this_machine(self):
        self.config_of(host="192.0.2.77")
        self.one(self.check(FAILED), "error", "port", "192.0.2.77", "bind_host")


class Init(Project):
    def test_what_is_made(self):
        self.check_event(self.made.event("init"), "init", dir=os.path.realpath(self.dir),
                         config=str, key=str, id=str, node_id="host-A", made_key=True,
                         sealed=False)
        for name, wanted in (("keys", 0o700), ("data", 0o700), ("run", 0o700),
                             ("keys/node.key", 0o600)):
            self.assertEqual(mode(os.path.join(self.dir, name)), wanted, name)
        self.assertTrue(os.path.isdir(os.path.join(self.dir, "logs")))
        self.assertIn("keys/\n", read(os.path.join(self.dir, ".gitignore")))
        self.assertEqual(run("key", "show", self.key, "--json").event("key")["id"], self.id)
        self.assertIn('id: "host-A"', read(self.config))
        self.check(OK)

    def test_for_people(self):
        result = run("init", self.path("other"), "--name", "b")
        self.assertEqual((result.status, result.err), (OK, ""))
        for word in self.path("other"), "km-node check", "km-node run", "km-node peer add":
            self.assertIn(word, result.out)
        self.assertRegex(result.out, r"(?m)^id +[0-9a-f]{64}$")

    def test_here(self):
        os.mkdir(self.path("here"))
        result = run("init", "--json", cwd=self.path("here"))
        self.assertEqual(result.status, OK, result.err)
        self.assertTrue(os.path.exists(self.path("here/keymesh.yaml")))
        self.assertRegex(result.event("init")["node_id"], "^[A-Za-z0-9-]{1,64}$")
        self.assertEqual(run("check", cwd=self.path("here")).status, OK)
        self.assertEqual(run("check", env={"KM_PROJECT": self.path("here")}).status, OK)

    def test_nothing_is_overwritten(self):
        before, key = read(self.config), read(self.key)
        self.check_sentence(run("init", self.dir), USAGE, "--force")
        self.assertEqual((read(self.config), read(self.key)), (before, key))
        self.write("node: {id: mine}\n")
        again = run("init", self.dir, "--force", "--name", "new", "--json")
        self.assertEqual(again.status, OK, again.err)
        self.assertEqual((again.event("init")["id"], again.event("init")["made_key"]),
                         (self.id, False))
        self.assertEqual(read(self.key), key)
        self.assertEqual(read(self.config + ".old"), "node: {id: mine}\n")
        self.assertIn('id: "new"', read(self.config))

    def test_a_name_in_quotes(self):
        name = 'a "b" \\ ü'
        result = run("init", self.path("q"), "--name", name, "--json")
        self.assertEqual(result.event("init")["node_id"], name)
        self.assertEqual(run("check", "--config", self.path("q")).status, OK)

    def test_bad(self):
        for words in (["--name", ""], ["--name", "a" * 65], ["--name", "a\nb"], ["x", "y"],
                      ["--sealed", self.path("s")]):
            result = run("init", *words, start_new_session=True)
            self.assertIn(result.status, (USAGE, UNREACHABLE), words)
            self.check_sentence(result, result.status)
        self.assertFalse(os.path.exists(self.path("s/keys/node.key")))
        self.file("plain")
        result = run("init", self.path("plain/x"))
        self.check_sentence(result, result.status, "cannot make the folder")
        self.assertNotEqual(result.status, OK)

    def test_sealed(self):
        passphrase = self.file("pass", b"correct horse\n")
        made = run("init", self.path("s"), "--sealed", "--passphrase-file", passphrase, "--json")
        self.assertEqual(made.status, OK, made.err)
        self.assertTrue(made.event("init")["sealed"])
        key = self.path("s/keys/node.key")
        self.assertEqual(mode(key), 0o600)
        self.assertNotIn("BEGIN PRIVATE KEY", read(key))
        seen = run("check", "--config", self.path("s"), "--json",
                   env={"KM_PASSPHRASE": "correct horse"})
        self.assertEqual(seen.status, OK, seen.out)
        self.assertIn(made.event("init")["id"], seen.out)
        wrong = run("check", "--config", self.path("s"), "--json", env={"KM_PASSPHRASE": "x"})
        self.assertEqual(wrong.status, FAILED)
        self.assertIn("passphrase", self.rows(wrong, "error", "key")[0]["text"])
        # Without it the rest is looked at.
        none = run("check", "--config", self.path("s"), "--json")
        self.assertEqual(none.status, OK, none.out)


    def on_a_terminal(self, *args, answers):
        """A process with a terminal of its own: what it showed, and its status."""
        child, terminal = pty.fork()
        if child == 0:
            env = {k: v for k, v in os.environ.items() if k != "KM_PASSPHRASE"}
            os.execve(BIN, [BIN, *args], env)
        seen, asked = b"", 0
        while True:
            self.assertTrue(select.select([terminal], [], [], LIMIT)[0], seen)
            try:
                part = os.read(terminal, 65536)
            except OSError:  # EIO: it has ended
                break
            if not part:
                break
            seen += part
            if seen.count(b": ") > asked and seen.rstrip(b" ").endswith(b":") and answers:
                asked = seen.count(b": ")
                os.write(terminal, answers.pop(0))
        os.close(terminal)
        return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @unittest.skipIf(WRAPPER, "a terminal goes to the program itself")
    def test_asked_for(self):
        dir_ = self.path("s")
        seal = ["init", dir_, "--sealed"]
        seen, status = self.on_a_terminal(*seal, answers=[b"so-so\n", b"other\n"])
        self.assertEqual(status, USAGE, seen)
        self.assertIn("two different passphrases", seen)
        self.assertFalse(os.path.exists(dir_ + "/keys/node.key"))
        seen, status = self.on_a_terminal(*seal, answers=[b"so-so\n", b"so-so\n"])
        self.assertEqual(status, OK, seen)
        self.assertNotIn("so-so", seen)
        self.assertEqual(run("check", "--config", dir_, env={"KM_PASSPHRASE": "so-so"}).status, OK)
        seen, status = self.on_a_terminal("security", "init", "--config", dir_, "--unseal",
                                          answers=[b"so-so\n"])
        self.assertEqual(status, OK, seen)
        # Interrupted, it leaves the terminal as it was and nothing behind.
        seen, status = self.on_a_terminal("init", self.path("t"), "--sealed", answers=[b"a\x03"])
        self.assertNotEqual(status, OK)
        self.assertFalse(os.path.exists(self.path("t/keys/node.key")))


class Check(Project):
    def test_for_people(self):
        self.write("node: {id: a}\nsecurity: {level: development}\nstatus_http: {host: 0.0.0.0}\n")
        result = self.run("check")
        self.assertEqual((result.status, result.err), (FAILED, ""))
        self.assertRegex(result.out, r"(?m)^error +status +the status page on 0\.0\.0\.0 has no")
        self.assertRegex(result.out, r"(?m)^ +set status_http\.token")
        self.assertRegex(result.out, r"(?m)^warning +security +level development")
        self.assertRegex(result.out, r"(?m)^1 error, 1 warning$")

    def test_no_project(self):
        for words in (["--config", self.path("nowhere")], []):
            result = run("check", *words, "--json", cwd=self.folder)
            self.assertEqual(result.status, FAILED)
            self.assertIn("km-node init", self.rows(result, "error", "config")[0]["hint"])

    def test_the_line_of_a_mistake(self):
        self.write("node:\n  id: a\nstore:\n  max_keys: 3\n")
        row = self.one(self.check(FAILED), "error", "config", "store.max_keys", "max_key?")
        self.assertIn("keymesh.yaml:4: ", row["text"])
        for name in "mesh", "mesh/", "mesh/keymesh.yaml":
            shown = run("list-shares", "--config", name, cwd=self.folder)
            self.check_sentence(shown, USAGE, "mesh/keymesh.yaml:4: ")
        self.write("node:\n  id: a\n\tx: y\n")
        self.one(self.check(FAILED), "error", "config", "keymesh.yaml:3: ", "not YAML")

    def test_the_key(self):
        os.chmod(self.key, 0o644)
        self.one(self.check(FAILED), "error", "key", "chmod 600")
        os.chmod(self.key, 0o600)
        os.chmod(os.path.dirname(self.key), 0o755)
        self.one(self.check(OK), "warning", "key", "chmod 700")
        os.remove(self.key)
        os.chmod(os.path.dirname(self.key), 0o700)
        self.one(self.check(FAILED), "error", "key", "km-node key new")
        self.file("mesh/keys/node.key", b"rubbish")
        self.one(self.check(FAILED), "error", "key", "Ed25519")

    def test_peers(self):
        self.write(f"""node: {{id: a}}
discovery: {{mdns: false}}
shares: [{{name: s}}]
peers:
  - {{id: {ID}, name: good, addr: "192.0.2.1:5", shares_access: [{{share: s, mode: ro}}]}}
  - {{id: {OTHER}, name: lost}}
  - {{id: {self.id}, addr: "192.0.2.1:6"}}
  - {{id: host-Z, addr: "192.0.2.1:7"}}
""")
        result = self.check(FAILED)
        self.assertIn("good", self.rows(result, "ok", "peer")[0]["text"])
        self.one(result, "warning", "peer", "line 6", "lost", "where it is")
        own, name = self.rows(result, "error", "peer")
        self.assertIn("line 7", own["text"])
        self.assertIn("own id", own["text"])
        self.assertIn("line 8", name["text"])
        self.assertIn("cert import", name["hint"])

    def test_a_fingerprint(self):
        spki = bytes.fromhex("302a300506032b6570032100" + ID)
        right = sha256(spki)
        self.write(f'node: {{id: a}}\npeers: [{{id: {ID}, cert_fingerprint: "{right.upper()}"}}]\n')
        self.check(OK)
        self.write(f'node: {{id: a}}\npeers: [{{id: {OTHER}, cert_fingerprint: "{right}"}}]\n')
        self.one(self.check(FAILED), "error", "peer", "cert_fingerprint")
        result = self.run("list-shares")  # nobody else goes on with it either
        self.check_sentence(result, USAGE, "cert_fingerprint")

    def test_shares(self):
        self.write(f"node: {{id: a}}\nshares: [{{name: s, path: data/s}}]\npeers: [{{id: {ID}}}]\n")
        self.one(self.check(OK), "warning", "share", "no peer may read it")
        os.symlink(self.folder, os.path.join(self.dir, "data/s"))
        self.one(self.check(FAILED), "error", "share", "path traversal refused")
        self.write("node: {id: a}\nshares: [{name: s, path: ../s}]\n")
        self.one(self.check(FAILED), "error", "config", "path traversal refused")

    def test_the_socket(self):
        self.write(f"node: {{id: a, control_socket: {'x' * 120}/c.sock}}\n")
        self.one(self.check(FAILED), "error", "socket", "shorter path")

    def test_the_log(self):
        self.file("mesh/plain")
        self.write("node: {id: a}\nlogging: {file: plain/a.log}\n")
        self.one(self.check(FAILED), "error", "log", "logging.file")

    def test_one_file_for_two(self):
        for text, words in (
                ("logging: {file: keys/node.key}", ("logging.file", "security.key")),
                ("logging: {file: logs/../data/store.db}", ("logging.file", "store.path")),
                ("logging: {file: keymesh.yaml}", ("logging.file", "configuration")),
                ("store: {path: keys/certs.yaml}", ("store.path", "security.certs_file")),
                ("security: {key: k, passphrase_file: k}", ("passphrase_file", "security.key"))):
            self.write("node: {id: a}\n" + text + "\n")
            row = self.one(self.check(FAILED), "error", "config", *words)
            self.assertIn("keymesh.yaml:2: ", row["text"])
        before = read(self.key)
        self.write("node: {id: a}\nlogging: {file: keys/node.key}\n")
        self.check_sentence(self.run("run"), USAGE, "security.key")
        self.assertEqual(read(self.key), before)

    def test_who_may_write_the_configuration(self):
        os.chmod(self.config, 0o666)
        self.one(self.check(FAILED), "error", "config", "everybody may write", "chmod o-w")
        os.chmod(self.config, 0o664)
        self.check(OK)

    @unittest.skipUnless(os.geteuid() == 0, "gives the file away")
    def test_whose_the_configuration_is(self):
        os.chown(self.config, 65534, 65534)
        self.one(self.check(OK), "warning", "config", "another user")

    def test_the_store(self):
        self.assertIn("will be made", self.one(self.check(OK), "ok", "store")["text"])
        self.assertFalse(os.path.exists(os.path.join(self.dir, "data/store.db")))
        self.file("mesh/data/store.db", b"this is no database at all" * 100)
        self.one(self.check(FAILED), "error", "store")

    def test_the_status_page(self):
        self.write("node: {id: a}\nstatus_http: {host: 0.0.0.0, token: 0123456789}\n")
        os.chmod(self.config, 0o644)
        self.one(self.check(OK), "warning", "status", "chmod 600")
        os.chmod(self.config, 0o600)
        self.one(self.check(OK), "ok", "status", "http://0.0.0.0:52180/")

    def test_of_the_first_keymesh(self):
        self.write("node: {id: a}\ntransfer: {chunk_mb: 16, concurrent_files: 2}\n")
        rows = self.rows(self.check(OK), "warning", "config")
        self.assertEqual([row["text"] for row in rows],
                         ["line 2: transfer.chunk_mb is without effect here",
                          "line 2: transfer.concurrent_files is without effect here"])

    def test_missing_files(self):
        self.write("node: {id: a}\nsecurity: {passphrase_file: p}\n"
                   "connectivity: {relay_ca: ca.pem}\n")
        result = self.check(FAILED)
        self.one(result, "error", "key", "passphrase")
        self.one(result, "error", "relay", "ca.pem")


class ListShares(Project):
    def test_it(self):
        self.write(f"""node: {{id: a}}
shares:
  - {{name: s, default_mode: ro, path: data/s, delete_propagation: true, ignore_file: .i}}
  - {{name: t}}
peers:
  - {{id: {ID}, name: B, shares_access: [{{share: s, mode: rw}}, {{share: t, mode: ro}}]}}
  - {{id: {OTHER}, shares_access: [{{share: t, mode: rw}}]}}
""")
        s, t = self.run("list-shares", "--json").events
        self.check_event(s, "share", name="s", default_mode="ro", delete_propagation=True,
                         path=os.path.join(os.path.realpath(self.dir), "data/s"), ignore_file=".i",
                         peers=[{"peer": "B", "mode": "rw"}])
        self.assertEqual((t["path"], t["default_mode"]), (None, "none"))
        self.assertEqual(t["peers"], [{"peer": "B", "mode": "ro"}, {"peer": OTHER, "mode": "rw"}])
        out = self.run("list-shares").out
        self.assertRegex(out, r"(?m)^s +default ro +data/s$")
        self.assertRegex(out, r"(?m)^  rw  B$")

    def test_none(self):
        self.write("node: {id: a}\n")
        self.assertIn("No shares", self.run("list-shares").out)
        self.assertEqual(self.run("list-shares", "--json").out, "")

    def test_no_project(self):
        self.check_sentence(run("list-shares", cwd=self.folder), USAGE, "km-node init")


class Install(Project):
    def setUp(self):
        super().setUp()
        self.env = {"HOME": self.path("home"), "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": ""}

    def printed(self, *words):
        result = self.run("install", "--print", *words, env=self.env)
        self.assertEqual((result.status, result.err), (OK, ""))
        return result.out

    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze here")
    def test_systemd_takes_it(self):
        strange = self.path('a "b" 100% $HOME \\ c')
        os.rename(self.dir, strange)
        self.dir = strange
        text = self.printed("--system", "--program", BIN)
        # The page of the manual need not be installed.
        text = re.sub("(?m)^Documentation=.*\n", "", text)
        unit = self.file("km-node.service", text.encode())
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, check=False)
        seen = done.stdout.decode() + done.stderr.decode()
        if "Failed to" in seen and "manager" in seen:
            self.skipTest(seen)
        self.assertEqual((done.returncode, seen), (0, ""), text)

    def test_property_lists(self):
        for scope in "--user", "--system":
            strange = self.path(f"<{scope}> & 'b'")
            shutil.copytree(self.dir, strange)
            out = run("install", "--print", scope, "--platform", "macos", "--program",
                      "/a & b/km-node", "--config", strange).out
            made = plistlib.loads(out.encode())
            self.assertEqual(made["Label"], "org.keymesh.km-node")
            self.assertEqual(made["ProgramArguments"],
                             ["/a & b/km-node", "run", "--config",
                              os.path.join(os.path.realpath(strange), "keymesh.yaml")])
            self.assertIs(made["RunAtLoad"], True)
            self.assertEqual(made["KeepAlive"], {"SuccessfulExit": False})
            self.assertEqual(made["Umask"], 0o077)
            self.assertTrue(made["StandardErrorPath"].endswith("/logs/keymesh.log"))

    def test_windows(self):
        out = self.run("install", "--print", "--user", "--platform", "windows", "--program",
                       "C:\\km-node.exe").out
        self.assertIn('start "km-node" /min "C:\\km-node.exe" run --config "', out)
        out = self.run("install", "--print", "--system", "--platform", "windows", "--program",
                       "C:\\km-node.exe").out
        self.assertIn('"km-node"="\\"C:\\\\km-node.exe\\" run --config', out)

    def test_as_json(self):
        event = self.run("install", "--print", "--user", "--json", env=self.env).events[0]
        self.check_event(event, "service-file", platform="linux", scope="user", name="km-node",
                         path=self.path("home/.config/systemd/user/km-node.service"), text=str)
        self.assertIn("ExecStart=", event["text"])

    def test_written_and_removed(self):
        path = self.path("home/.config/systemd/user/km-node.service")
        made = self.run("install", "--user", "--json", env=self.env).event("installed")
        self.assertEqual((made["path"], made["started"]), (path, False))
        text = read(path)
        self.assertEqual(text, self.printed("--user"))
        self.assertIn(f'run --config "{os.path.realpath(self.config)}"', text)
        # Again for the same project, not for another one.
        again = self.run("install", "--user", env=self.env)
        self.assertEqual(again.status, OK, again.err)
        self.assertIn("systemctl --user", again.out)
        run("init", self.path("other"))
        self.check_sentence(run("install", "--user", "--config", self.path("other"), env=self.env),
                            USAGE, "--name")
        self.assertEqual(read(path), text)
        other = run("install", "--user", "--config", self.path("other"), "--name", "km-2",
                    env=self.env)
        self.assertEqual(other.status, OK, other.err)

        gone = run("uninstall", "--user", "--json", env=self.env).event("uninstalled")
        self.assertEqual(gone["path"], path)
        self.assertFalse(os.path.exists(path))
        self.assertTrue(os.path.exists(path.replace("km-node.service", "km-2.service")))
        self.check_sentence(run("uninstall", "--user", env=self.env), USAGE, "nothing is installed")
        self.assertTrue(os.path.exists(self.config))

    def test_bad(self):
        for words, word in ((["--user", "--system"], "not both"), (["--name", "a/b"], "--name"),
                            (["--platform", "beos"], "linux, macos or windows"),
                            (["--platform", "windows"], "--print"), (["word"], "too many")):
            self.check_sentence(self.run("install", *words), USAGE, word)
        homeless = self.run("install", "--user", env={"HOME": "", "XDG_CONFIG_HOME": ""})
        self.check_sentence(homeless, homeless.status, "HOME")
        self.assertNotEqual(homeless.status, OK)
        os.rename(self.dir, self.path("a\nb"))
        self.dir = self.path("a\nb")
        self.check_sentence(self.run("install", "--print"), USAGE, "no service's file can hold")


class Service(Project):
    def setUp(self):
        super().setUp()
        self.env = {"HOME": self.path("home"), "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": ""}

    def service(self, *words):
        return self.run("service", *words, "--user", env=self.env)

    def test_status(self):
        result = self.service("status", "--json")
        self.assertEqual(result.status, FAILED)
        self.check_event(result.event("service"), "service", name="km-node", installed=False,
                         state="inactive", log=str)
        self.run("install", "--user", env=self.env)
        result = self.service("status", "--json")
        self.assertEqual(result.status, FAILED)
        self.check_event(result.event("service"), "service", name="km-node", installed=True,
                         state="inactive", log=str, scope="user", path=str)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(self.dir, "run/control.sock"))
            self.assertEqual(self.service("status").status, FAILED)  # it died, and left that
            listener.listen()
            result = self.service("status")
            self.assertEqual(result.status, OK, result.err)
            self.assertIn("km-node status", result.out)

    def test_logs(self):
        lines = [f"line {i} \x1b[31m" for i in range(200)]
        self.file("mesh/logs/keymesh.log", "\n".join([*lines, "half"]).encode())
        shown = self.service("logs", "--lines", "3").out
        self.assertEqual(shown, "line 198 ?[31m\nline 199 ?[31m\nhalf\n")
        events = self.service("logs", "--lines", "2", "--json").events
        self.assertEqual([e["line"] for e in events], [lines[-1], "half"])
        self.assertEqual(len(self.service("logs").out.splitlines()), 50)
        self.assertEqual(len(self.service("logs", "--lines", "1000").out.splitlines()), 201)

    def test_following(self):
        path = self.file("mesh/logs/keymesh.log", b"one\n")
        with subprocess.Popen([BIN, "service", "logs", "-f", "--user", "--config", self.dir],
                              stdout=subprocess.PIPE, env={**os.environ, **self.env}) as child:
            self.addCleanup(child.kill)
            self.assertEqual(child.stdout.readline(), b"one\n")
            with open(path, "ab") as file:
                file.write(b"two\n")
            self.assertEqual(child.stdout.readline(), b"two\n")
            os.rename(path, path + ".1")  # as log rotation does
            self.file("mesh/logs/keymesh.log", b"three\n")
            self.assertEqual(child.stdout.readline(), b"three\n")
            child.kill()

    def test_no_log(self):
        result = self.service("logs")
        self.check_sentence(result, USAGE, "keymesh.log")
        self.write("node: {id: a}\n")
        self.check_sentence(self.service("logs"), UNREACHABLE, "logging.file")

    def test_bad(self):
        self.check_sentence(self.run("service", "restart"), USAGE, "status")
        self.check_sentence(self.run("service"), USAGE, "missing")
        self.check_sentence(self.run("service", "logs", "--user", "--system"), USAGE, "not both")


@unittest.skipUnless(shutil.which("openssl"), "no openssl here")
class Cert(Project):
    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True)

    def authority(self, name="ca"):
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name,
                     "-days", "3650", "-keyout", name + ".key", "-out", name + ".crt")

    def cert(self, name, *key, ca="ca", subject=None, dates=("-days", "30")):
        self.openssl("req", "-newkey", *(key or ("rsa:2048",)), "-nodes", "-subj",
                     f"/O=Test/CN={name}" if subject is None else subject,
                     "-keyout", name + ".key", "-out", name + ".csr")
        self.openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".crt", "-CAkey",
                     ca + ".key", "-CAcreateserial", *dates, "-out", name + ".crt")
        return self.path(name + ".crt")

    def der(self, *what):
        return subprocess.run(["openssl", *what], cwd=self.folder, check=True,
                              capture_output=True).stdout

    def fingerprint(self, name):
        der = self.der("x509", "-in", name + ".crt", "-outform", "DER")
        return sha256(der)

    def spki(self, name):
        pem = self.path(name + ".pub")
        with open(pem, "wb") as file:
            file.write(self.der("x509", "-in", name + ".crt", "-noout", "-pubkey"))
        return self.der("pkey", "-pubin", "-in", pem, "-outform", "DER")

    def take(self, cert, *words, ca="ca"):
        return self.run("cert", "import", cert, "--ca", self.path(ca + ".crt"), *words)

    def test_rsa(self):
        self.authority()
        cert = self.cert("host-B")
        self.check_sentence(self.take(cert), USAGE, "--id")
        result = self.take(cert, "--id", ID, "--json")
        self.assertEqual(result.status, OK, result.err)
        self.check_event(result.event("cert"), "cert", name="host-B", id=ID, not_after=str,
                         cert_fingerprint=self.fingerprint("host-B"),
                         spki_fingerprint=sha256(self.spki("host-B")))
        end = datetime.datetime.strptime(result.event("cert")["not_after"], "%Y-%m-%dT%H:%M:%SZ")
        now = datetime.datetime.now(datetime.timezone.utc)
        self.assertIn((end.replace(tzinfo=datetime.timezone.utc) - now).days, (29, 30))

    def test_ed25519(self):
        self.authority()
        cert = self.cert("host-C", "ed25519")
        own = self.spki("host-C")[12:].hex()
        result = self.take(cert, "--json")
        self.assertEqual(result.event("cert")["id"], own, result.err)
        self.check_sentence(self.take(cert, "--id", ID), USAGE, "another id")
        # The key itself, in the form that openssl writes, serves this node.
        os.chmod(self.path("host-C.key"), 0o600)
        self.write(f"node: {{id: a}}\nsecurity: {{key: {self.path('host-C.key')}}}\n")
        self.assertIn(own, self.one(self.check(OK), "ok", "key")["text"])

    def test_the_peer_is_named_by_it(self):
        self.authority()
        self.write('node: {id: a}\nshares: [{name: s}]\npeers:\n'
                   '  - {id: host-B, addr: "192.0.2.1:5", shares_access: [{share: s, mode: rw}],\n'
                   '     cert_fingerprint: "sha256:' + "0" * 64 + '"}\n')
        self.one(self.check(FAILED), "error", "peer", "host-B", "cert import")
        self.assertEqual(self.take(self.cert("host-B"), "--id", ID).status, OK)
        self.one(self.check(FAILED), "error", "peer", "cert_fingerprint")
        text = read(self.config).replace("sha256:" + "0" * 64, self.fingerprint("host-B"))
        self.write(text)
        self.one(self.check(OK), "ok", "peer", "host-B", ID[:10])
        self.assertEqual(self.run("list-shares", "--json").events[0]["peers"],
                         [{"peer": "host-B", "mode": "rw"}])

    def test_list_and_again(self):
        self.authority()
        self.assertIn("No certificate", self.run("cert", "list").out)
        cert = self.cert("host-B", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        self.assertEqual(self.take(cert, "--id", ID).status, OK)
        self.assertEqual(self.take(cert, "--id", OTHER).status, OK)  # in place of the first
        self.assertEqual(self.take(self.cert("host-D"), "--id", ID).status, OK)
        events = self.run("cert", "list", "--json").events
        self.assertEqual({e["name"]: e["id"] for e in events}, {"host-B": OTHER, "host-D": ID})
        self.assertIn("host-D", self.run("cert", "list").out)

    def test_another_authority(self):
        self.authority()
        self.authority("other")
        cert = self.cert("host-B")
        result = self.take(cert, "--id", ID, ca="other")
        self.check_sentence(result, FAILED, "not signed by the authority")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "keys/certs.yaml")))
        # One that calls itself the same is another one, too.
        os.remove(self.path("ca.crt"))
        self.authority()
        self.check_sentence(self.take(cert, "--id", ID), FAILED)

    def test_expired(self):
        self.authority()
        cert = self.cert("old", dates=("-days", "-1"))
        self.check_sentence(self.take(cert, "--id", ID), FAILED, "expired")

    def test_the_configured_authority(self):
        self.authority()
        cert = self.cert("host-B")
        self.check_sentence(self.run("cert", "import", cert, "--id", ID), USAGE, "--ca")
        shutil.copy(self.path("ca.crt"), os.path.join(self.dir, "keys/ca.crt"))
        self.write("node: {id: a}\nsecurity: {ca_cert: keys/ca.crt}\n")
        result = self.run("cert", "import", cert, "--id", ID)
        self.assertEqual(result.status, OK, result.err)

    def test_a_host_is_no_authority(self):
        self.authority()
        self.cert("leaf")
        evil = self.cert("host-B", ca="leaf")
        self.check_sentence(self.take(evil, "--id", ID, ca="leaf"), USAGE, "no authority")
        # Nor when it lies beside one.
        for names in ("leaf", "ca"), ("ca", "leaf"):
            pem = b"".join(open(self.path(name + ".crt"), "rb").read() for name in names)
            self.file("bundle.crt", pem)
            self.check_sentence(self.take(evil, "--id", ID, ca="bundle"), USAGE, "one certificate")
        # Nor when it calls itself one that signs no certificates.
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=odd",
                     "-addext", "keyUsage=digitalSignature", "-keyout", "odd.key", "-out",
                     "odd.crt")
        self.check_sentence(self.take(self.cert("host-B", ca="odd"), "--id", ID, ca="odd"), USAGE,
                            "no authority")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "keys/certs.yaml")))

    def test_nul_in_a_name(self):
        self.authority()
        self.cert("host-B_evil")
        # openssl takes no NUL in a name: the certificate is changed, and signed anew. It is a head
        # of 4 bytes, what is signed (with a head of 4), and a signature of 256 bytes at the end.
        der = self.der("x509", "-in", "host-B_evil.crt", "-outform", "DER")
        self.assertEqual(der.count(b"host-B_evil"), 1)
        der = der.replace(b"host-B_evil", b"host-B\0evil")
        signed = self.file("signed", der[4:8 + int.from_bytes(der[6:8], "big")])
        signature = self.der("dgst", "-sha256", "-sign", "ca.key", signed)
        self.assertEqual(len(signature), 256)
        self.file("nul.der", der[:-256] + signature)
        self.openssl("x509", "-inform", "DER", "-in", "nul.der", "-out", "nul.crt")
        self.openssl("verify", "-CAfile", "ca.crt", "nul.crt")
        self.check_sentence(self.take(self.path("nul.crt"), "--id", ID), USAGE, "common name")

    def test_bad_files(self):
        self.authority()
        cert = self.cert("host-B")
        self.check_sentence(self.take(self.path("missing"), "--id", ID), USAGE, "missing")
        self.check_sentence(self.take(self.file("rubbish", b"rubbish"), "--id", ID), USAGE,
                            "no certificate")
        self.check_sentence(self.take(cert, "--id", ID, ca="missing"), USAGE, "missing")
        self.file("junk.crt", b"junk")
        self.check_sentence(self.take(cert, "--id", ID, ca="junk"), USAGE, "no authority")
        self.check_sentence(self.take(cert, "--id", "nonsense"), USAGE, "--id")
        nameless = self.cert("nameless", subject="/O=Test")
        self.check_sentence(self.take(nameless, "--id", ID), USAGE, "common name")
        quoted = self.cert("quoted", subject='/CN=a"b')
        self.check_sentence(self.take(quoted, "--id", ID), USAGE, "common name")
        self.check_sentence(self.run("cert", "export", cert), USAGE, "import")
        self.file("mesh/keys/certs.yaml", b"certs: [x]\n")
        self.check_sentence(self.take(cert, "--id", ID), USAGE, "keys/certs.yaml:1")


class Security(Project):
    def test_levels(self):
        for level, strangers in (("development", True), ("signed", True), ("secure", False),
                                 ("strict", False)):
            self.write(f"node: {{id: a}}\nsecurity: {{level: {level}}}\n")
            event = self.run("security", "status", "--json").event("security")
            self.assertEqual(event["level"], level)
            self.assertEqual(event["lets_strangers_in"] or event["remembers_first_use"], strangers)
            self.assertEqual(event["queues_strangers"], level == "secure")
            self.assertEqual(event["takes_revocations"], level == "strict")
            self.assertEqual((event["sealed"], event["private"], event["key_exists"]),
                             (False, True, True))
            self.assertGreater(len(event["summary"]), 20)
            self.assertIn(level, self.run("security", "status").out)
        os.chmod(self.key, 0o640)
        self.assertFalse(self.run("security", "status", "--json").event("security")["private"])
        self.assertIn("chmod 600", self.run("security", "status").out)

    def test_sealing(self):
        first, second = self.file("p1", b"one\n"), self.file("p2", b"two\n")
        made = self.run("security", "init", "--passphrase-file", first, "--json").event("sealed")
        self.check_event(made, "sealed", key=str, id=self.id, made=False, sealed=True)
        self.assertEqual(mode(self.key), 0o600)
        self.assertTrue(self.run("security", "status", "--json").event("security")["sealed"])
        self.check(OK, env={"KM_PASSPHRASE": "one"})
        # A new passphrase needs the old one.
        wrong = self.run("security", "init", "--old-passphrase-file", second, "--passphrase-file",
                         second)
        self.check_sentence(wrong, USAGE, "passphrase")
        self.check(OK, env={"KM_PASSPHRASE": "one"})
        again = self.run("security", "init", "--old-passphrase-file", first, "--passphrase-file",
                         second, "--json")
        self.assertEqual(again.event("sealed")["id"], self.id, again.err)
        self.check(FAILED, env={"KM_PASSPHRASE": "one"})
        self.write("node: {id: a}\nsecurity: {passphrase_file: ../p2}\n")
        self.check(OK)
        # And off again.
        off = self.run("security", "init", "--unseal", "--passphrase-file", second, "--json")
        self.assertFalse(off.event("sealed")["sealed"], off.err)
        self.assertIn("BEGIN PRIVATE KEY", read(self.key))
        self.assertEqual(os.listdir(os.path.dirname(self.key)), ["node.key"])

    def test_a_new_one(self):
        os.remove(self.key)
        event = self.run("security", "init", "--json", env={"KM_PASSPHRASE": "x"}).event("sealed")
        self.assertTrue(event["made"] and event["sealed"])
        self.assertNotEqual(event["id"], self.id)

    def test_bad_passphrases(self):
        before = read(self.key)
        for name, content, wanted in (("empty", b"\n", "empty"), ("none", b"", "empty"),
                                      ("long", b"x" * 1025, "1024"), ("nul", b"a\0b\n", "NUL")):
            result = self.run("security", "init", "--passphrase-file", self.file(name, content))
            self.check_sentence(result, USAGE, wanted)
        shared = self.file("shared", b"x\n", 0o644)
        self.check_sentence(self.run("security", "init", "--passphrase-file", shared), USAGE,
                            "chmod 600")
        self.check_sentence(self.run("security", "init", "--passphrase-file", self.path("no")),
                            USAGE, "passphrase's file")
        nobody = self.run("security", "init", start_new_session=True)
        self.check_sentence(nobody, UNREACHABLE, "--passphrase-file")
        self.assertEqual(read(self.key), before)

    def test_bad(self):
        self.check_sentence(self.run("security", "destroy"), USAGE, "init")
        self.check_sentence(self.run("security"), USAGE, "missing")
        os.remove(self.key)
        self.check_sentence(self.run("security", "init", "--unseal"), USAGE, "no key")


if __name__ == "__main__":
    own_ports()
    main()
