"""km-node id, ticket and key, compared with what the real iroh says."""
import hashlib
import os
import re
import stat

import vectors
from lab import OK, USAGE, Case, main, run

# RFC 8410 section 4: what stands before the 32 bytes of a public key.
SPKI_HEAD = bytes.fromhex("302a300506032b6570032100")


class Id(Case):
    def test_vectors(self):
        for key in vectors.keys():
            fingerprint = hashlib.sha256(SPKI_HEAD + bytes.fromhex(key["id"])).hexdigest()
            for form in key["id"], key["base32"], key["base32"].upper():
                result = run("id", form, "--json")
                self.assertEqual(result.status, OK, result.out)
                self.check_event(result.events[0], "id", hex=key["id"], short=key["short"],
                                 base32=key["base32"], z32=key["z32"], tls_name=key["tls_name"],
                                 fingerprint="sha256:" + fingerprint)

    def test_for_people(self):
        key = vectors.keys()[1]
        lines = dict(line.split() for line in run("id", key["id"]).out.splitlines())
        self.assertEqual(lines["z32"], key["z32"])
        self.assertEqual(set(lines), {"hex", "short", "base32", "z32", "tls_name", "fingerprint"})

    def test_of_a_ticket(self):
        for ticket in vectors.tickets():
            self.assertEqual(run("id", ticket["ticket"], "--json").event("id")["hex"],
                             ticket["id"])


class Ticket(Case):
    def test_taken_apart(self):
        for vector in vectors.tickets():
            result = run("ticket", vector["ticket"], "--json")
            self.assertEqual(result.status, OK, vector["name"])
            # iroh carries addresses without a port; nobody can dial them.
            dialable = [addr for addr in vector["udp_out"] if not addr.endswith(":0")]
            event = result.events[0]
            self.assertEqual([a for a in event["direct"] if not a.endswith(":0")], dialable)
            self.check_event(event, "ticket", id=vector["id"], direct=list, ticket=str,
                             relays=[vector["relay_out"]] if vector["relay_out"] else [])
            if dialable == vector["udp_out"]:
                self.assertEqual(event["ticket"], vector["ticket"], vector["name"])

    def test_made(self):
        made = 0
        for vector in vectors.tickets():
            if any(addr.endswith(":0") for addr in vector["udp_in"]):
                continue
            words = [word for addr in vector["udp_in"] for word in ("--addr", addr)]
            words += ["--relay", vector["relay_in"]] if vector["relay_in"] else []
            result = run("ticket", vector["id"], *words, "--json")
            self.assertEqual(result.status, OK, result.out)
            self.assertEqual(result.event("ticket")["ticket"], vector["ticket"], vector["name"])
            made += 1
        self.assertGreaterEqual(made, 5)

    def test_bad_ways(self):
        some_id = vectors.keys()[0]["id"]
        for words in (["--addr", "nonsense"], ["--addr", "192.0.2.1"], ["--addr", "192.0.2.1:0"],
                      ["--addr", ""], ["--relay", "nonsense"], ["--relay", ""],
                      ["--relay", "https://x/" + "a" * 5000],
                      ["--addr", "192.0.2.1:99999"], ["--addr"]):
            self.check_sentence(run("ticket", some_id, *words), USAGE)


class Key(Case):
    def test_import_in_every_form(self):
        for key in vectors.keys():
            secret = bytes.fromhex(key["secret"])
            for form in "hex", "base32", "pem":
                event = run("key", "new", "--import", key["secret"], "--format", form,
                            "--json").event("key")
                self.check_event(event, "key", id=key["id"], secret=str)
                again = run("key", "new", "--import", event["secret"], "--json").event("key")
                self.check_event(again, "key", id=key["id"], secret=secret.hex())

    def test_new_ones_differ(self):
        found = [run("key", "new", "--json").event("key") for _ in range(3)]
        self.assertEqual(len({event["secret"] for event in found}), 3)
        self.assertEqual(len({event["id"] for event in found}), 3)

    def test_a_file(self):
        path = self.path("node.key")
        made = run("key", "new", "--out", path, "--json")
        self.assertEqual(made.status, OK, made.out)
        event = made.event("key")
        self.check_event(event, "key", id=str, file=path)  # the secret stays in the file
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="ascii") as file:
            self.assertTrue(file.read().startswith("-----BEGIN PRIVATE KEY-----\n"))

        shown = run("key", "show", path, "--json").event("key")
        self.check_event(shown, "key", id=event["id"], file=path)
        secret = run("key", "show", path, "--format", "hex", "--json").event("key")["secret"]
        self.assertRegex(secret, "^[0-9a-f]{64}$")
        by_secret = run("key", "new", "--import", secret, "--json").event("key")
        self.assertEqual(by_secret["id"], event["id"])

    def test_what_is_there_is_not_overwritten(self):
        path = self.path("node.key")
        self.assertEqual(run("key", "new", "--out", path).status, OK)
        with open(path, "rb") as file:
            before = file.read()
        self.check_sentence(run("key", "new", "--out", path), USAGE, path)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_bad_format_makes_no_file(self):
        path = self.path("node.key")
        self.check_sentence(run("key", "new", "--out", path, "--format", "der"), USAGE, "--format")
        self.assertFalse(os.path.exists(path))

    def test_pem_for_people(self):
        out = run("key", "new", "--format", "pem").out
        self.assertTrue(re.search("^-----BEGIN PRIVATE KEY-----$", out, re.M), out)
        self.assertTrue(re.search("^-----END PRIVATE KEY-----$", out, re.M), out)

    def test_no_secret_in_an_error(self):
        secret = "ab" * 31 + "zz"
        for args in (["key", "new", "--import", secret], ["node1", "--secret-key", secret]):
            result = run(*args)
            self.check_sentence(result, USAGE)
            self.assertNotIn("abab", result.out + result.err)


if __name__ == "__main__":
    main()
