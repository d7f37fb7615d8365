"""km-node peer add and remove: peers of keymesh.yaml; two fresh projects find each other."""
import os
import stat

import daemon_lab
import vectors
from lab import FAILED, OK, USAGE, main, own_ports, run

BOB, CAROL = (key["id"] for key in vectors.keys()[:2])


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Fresh(daemon_lab.MeshCase):
    """As `km-node init` makes it."""

    def setUp(self):
        super().setUp()
        self.dir = self.path("fresh")
        self.init = run("init", self.dir, "--name", "alice")
        self.config = os.path.join(self.dir, "keymesh.yaml")
        self.before = read(self.config)

    def peer(self, *args, **more):
        return run("peer", *args, "--config", self.dir, **more)

    def ok(self, *args):
        result = self.peer(*args)
        self.assertEqual((result.status, result.err), (OK, ""), args)
        return result

    def test_init_says_it(self):
        self.assertIn("km-node peer add", self.init.out)
        self.assertIn("default_mode", self.init.out)

    def test_only_the_entry_is_new(self):
        result = self.ok("add", BOB, "--name", "bob", "--addr", "192.0.2.1:51888", "--addr",
                         "[2001:db8::1]:7", "--share", "common=rw")
        self.assertIn(BOB[:10] + " bob", result.out)
        self.assertIn("once the node runs", result.out)
        own = next(line for line in self.init.out.splitlines() if line.startswith("id "))
        self.assertIn("km-node peer add " + own.split()[1], result.out)
        entry = (f'peers:\n  - id: "{BOB}"\n    name: "bob"\n'
                 '    addr: ["192.0.2.1:51888", "[2001:db8::1]:7"]\n'
                 '    shares_access:\n      - {share: "common", mode: rw}\n')
        self.assertEqual(read(self.config), self.before.replace("peers: []\n", entry))
        self.assertEqual(run("check", "--config", self.dir).status, OK)
        self.assertIn("may not read or write any share", self.ok("add", CAROL).out)
        self.assertEqual(read(self.config),
                         self.before.replace("peers: []\n", entry + f'  - id: "{CAROL}"\n'))
        self.ok("remove", "bob")
        self.ok("remove", CAROL[:8])
        self.assertEqual(read(self.config), self.before)

    def test_a_ticket(self):
        relay = "https://relay.example.org./"
        ticket = run("ticket", BOB, "--addr", "192.0.2.1:51888", "--relay", relay, "--json")
        event = self.peer("add", ticket.event("ticket")["ticket"], "--json").event("added")
        self.check_event(event, "added", id=BOB, name="", config=self.config, reloaded=False,
                         trust=None)
        self.assertIn(f'  - id: "{BOB}"\n    addr: "192.0.2.1:51888"\n    relay: "{relay}"\n',
                      read(self.config))
        event = self.peer("remove", BOB, "--json").event("removed")
        self.check_event(event, "removed", id=BOB, name="", config=self.config, reloaded=False,
                         trust=None)

    def test_bad_ways_write_nothing(self):
        own = next(line.split()[1] for line in self.init.out.splitlines() if line.startswith("id "))
        for words, hint in ((["add", "bob"], "status --long"), (["add", BOB[:12]], "requests"),
                            (["add", "endpointabc"], "ticket"), (["add", own], "own id"),
                            (["add", BOB, "--addr", "192.0.2.1"], "IP:PORT"),
                            (["add", BOB, "--addr", "192.0.2.1:0"], "IP:PORT"),
                            (["add", BOB, "--share", "common"], "NAME=ro"),
                            (["add", BOB, "--share", "common=none"], "NAME=ro"),
                            (["add", BOB, "--share", "comon=rw"], "list-shares"),
                            (["add", BOB, "--share", "=rw"], "no share"),
                            (["add", BOB, "--share", "common=ro", "--share", "common=rw"], "twice"),
                            (["add", BOB, "--name", ""], "--name"),
                            (["add", BOB, "--name", "a\nb"], "--name"),
                            (["add", BOB, "--note", "x"], "takes no --note"),
                            (["trust", BOB, "--addr", "192.0.2.1:1"], "takes no --addr"),
                            (["add"], "whom"), (["remove"], "whom")):
            self.check_sentence(self.peer(*words), USAGE, hint)
            self.assertEqual(self.peer(*words, "--json").event("error")["name"].upper(),
                             self.peer(*words, "--json").event("error")["name"])
        self.check_sentence(self.peer("remove", BOB), FAILED, "no peer")
        self.assertEqual(read(self.config), self.before)
        self.ok("add", BOB)
        with_bob = read(self.config)
        self.check_sentence(self.peer("add", BOB), FAILED, "line 4")
        self.assertEqual(read(self.config), with_bob)

    def test_what_a_hand_has_to_write(self):
        text = self.before.replace("peers: []", f'peers: [{{id: "{CAROL}"}}]')
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        result = self.peer("add", BOB, "--name", "bob")
        self.check_sentence(result, USAGE, "by hand", f'    - id: "{BOB}"\n      name: "bob"\n')
        self.check_sentence(self.peer("remove", CAROL), USAGE, "by hand")
        self.assertEqual(read(self.config), text)

    def test_link_and_mode_stay(self):
        os.rename(self.config, os.path.join(self.dir, "real.yaml"))
        os.symlink("real.yaml", self.config)
        os.chmod(os.path.join(self.dir, "real.yaml"), 0o640)
        owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        os.chown(self.config, *owner)
        self.ok("add", BOB)
        self.assertEqual((os.stat(self.config).st_uid, os.stat(self.config).st_gid), owner)
        self.assertTrue(os.path.islink(self.config))
        self.assertEqual(stat.S_IMODE(os.stat(self.config).st_mode), 0o640)
        self.assertIn(BOB, read(self.config))
        self.assertEqual(sorted(os.listdir(self.dir)),
                         [".gitignore", "data", "keymesh.yaml", "keys", "logs", "real.yaml", "run"])


class Two(daemon_lab.MeshCase):
    def test_trust_alone_says_what_comes_next(self):
        a = self.node("host-A").start()
        result = a.run("peer", "trust", BOB, "--name", "bob")
        self.assertIn(f"km-node peer add {BOB}", result.out)
        self.assertIn("km-node peer add", a.run("peers").out)
        self.assertIn("km-node reload", a.run("peers").out)

    def test_they_find_each_other_and_do_so_again(self):
        a, b = self.node("host-A").start(), self.node("host-B").start()
        ticket = {node: node.ask("status")["ticket"] for node in (a, b)}
        result = a.run("peer", "add", ticket[b], "--name", "bob", "--share", "docs=rw")
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertIn(f"km-node peer add {ticket[a]}", result.out)
        event = b.run("peer", "add", a.id, "--share", "docs=rw", "--json").event("added")
        self.assertTrue(event["reloaded"])
        a.wait_for(b)
        self.assertEqual(a.run("kv", "put", "docs", "k", "1").status, OK)
        b.wait_value("k", "1")
        self.assertNotIn("km-node peer add", a.run("peer", "trust", "bob").out)
        for node in a, b:
            self.assertEqual(node.run("stop").status, OK)
            self.assertEqual(node.daemon.wait().status, OK)
        for node in b, a:
            node.start()
        b.wait_for(a)
        self.assertEqual(b.run("kv", "put", "docs", "k", "2").status, OK)
        a.wait_value("k", "2")
        self.assertIn("peer forget", a.run("peer", "remove", "bob").out)  # it was trusted by hand
        self.assertEqual(a.run("peer", "forget", b.id).status, OK)
        daemon_lab.until("they part", lambda: not a.connected(b))

    def test_blocked_is_said(self):
        a = self.node("host-A").start()
        a.run("peer", "block", BOB)
        self.assertIn("it is blocked", a.run("peer", "add", BOB).out)
        a.run("peer", "remove", BOB)
        self.assertEqual(a.run("peer", "add", BOB, "--json").event("added")["trust"], "blocked")

    def test_what_the_node_refuses_is_taken_back(self):
        a = self.node("host-A", log="logs/node.log").start()
        config = os.path.join(a.dir, "keymesh.yaml")
        before = read(config)
        os.rename(os.path.join(a.dir, "logs"), os.path.join(a.dir, "gone"))
        self.check_sentence(a.run("peer", "add", BOB), USAGE, "node.log")
        self.assertEqual(read(config), before)
        os.rename(os.path.join(a.dir, "gone"), os.path.join(a.dir, "logs"))
        self.assertEqual(a.run("peer", "add", BOB).status, OK)


if __name__ == "__main__":
    own_ports()
    main()
