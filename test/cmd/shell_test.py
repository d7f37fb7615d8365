"""The shell: as a script, and on a terminal."""
import os
import re
import signal
import stat
import termios

import daemon_lab
from lab import FAILED, LIMIT, OK, USAGE, Case, Process, main
from terminal_lab import Terminal

PROMPT = "docs> "


class Shell(Case):
    def setUp(self):
        super().setUp()
        self.node = daemon_lab.Node(self, "alice")

    def script(self, *lines, words=()):
        return self.node.run("shell", *words, stdin="".join(line + "\n" for line in lines).encode())

    def terminal(self, *words, prompt=PROMPT):
        terminal = Terminal(self, *(words or ["shell"]), "--config", self.node.dir)
        terminal.until(prompt)
        return terminal


class Script(Shell):
    def test_lines_run_in_order(self):
        result = self.script("# a comment", "", "add greeting 'hello world'", "get greeting",
                             'add "b c" "tab\\there"', "list", "delete greeting", "list")
        self.assertEqual((result.status, result.err), (OK, ""))
        lines = result.out.splitlines()
        self.assertEqual(lines[:2], ["docs: greeting written", "hello world"])
        self.assertEqual([line.split("  ")[0] for line in lines[3:6]], ["KEY", "b c", "greeting"])
        self.assertEqual(lines[6], "docs: greeting deleted")
        self.assertEqual([line.split("  ")[0] for line in lines[7:]], ["KEY", "b c"])

    def test_its_status_is_that_of_the_last_failing_command(self):
        self.assertEqual(self.script("get nothing", "list").status, FAILED)
        self.assertEqual(self.script("get nothing", "lits", "list").status, USAGE)
        self.assertEqual(self.script("lits", "get nothing").status, FAILED)
        self.assertEqual(self.script("list", "quit", "lits").status, OK)
        self.assertEqual(self.script().status, OK)

    def test_errors_are_sentences_and_the_script_goes_on(self):
        result = self.script("lits", "add k", "add k 'v", "get", "peers x", "add k v", "get k")
        self.check_sentence(result, USAGE, "did you mean list", "missing", "quote", "too many")
        self.assertEqual(result.err.count("error: "), 5)
        self.assertEqual(result.out, "docs: k written\nv\n")

    def test_the_last_line_needs_no_end(self):
        result = self.node.run("shell", stdin=b"add a 1\r\nget a")
        self.assertEqual((result.status, result.out), (OK, "docs: a written\n1\n"))

    def test_from_a_file(self):
        with open(self.file("script", b"add a 1\nget a\n"), "rb") as file:
            shell = self.start(Process, "shell", "--config", self.node.dir, stdin=file)
        result = shell.wait()
        self.assertEqual((result.status, result.out), (OK, "docs: a written\n1\n"))

    def test_without_input(self):
        with open("/dev/null", "rb") as file:
            shell = self.start(Process, "shell", "--config", self.node.dir, stdin=file)
        self.assertEqual(shell.wait().status, OK)

    def test_use(self):
        result = self.script("use", "use private", "add a 1", "use", "list docs", "list private a")
        self.assertEqual(result.status, OK)
        self.assertEqual(result.out.splitlines()[:4],
                         ["docs", "private: a written", "private", "nothing there"])

    def test_json(self):
        result = self.script("add a 1", "list", "get none", words=["--json"])
        self.assertEqual((result.status, result.err), (FAILED, ""))
        self.assertEqual([e["event"] for e in result.events], ["written", "entry", "error"])

    def test_hostile_values_do_not_steer(self):
        self.node.run("kv", "put", "docs", "evil", "\x1b]0;x\x07\x1b[2J")
        result = self.script("get evil", "list", "peers\x1b[2J", "add k\x01 v", "list \x9b2J")
        self.assertNotRegex(result.out + result.err, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")

    def test_help(self):
        out = self.script("help").out
        for name in ("add get list delete peers announce-key request-keys request-whitelist "
                     "recommend-peer cleanup reload-cache verify-signature test-access-control "
                     "watch send broadcast messages trust revoke requests approve deny status "
                     "health shares why sync use help quit").split():
            self.assertRegex(out, rf"(?m)^  {name}( |$)")
        self.assertEqual(len(self.script("help add").out.splitlines()), 1)

    def test_messages_and_trust(self):
        bob = daemon_lab.Node(self, "bob")
        result = self.script(f"trust {bob.id} bob", "known", 'send bob note {"text": "a b"}',
                             "broadcast alarm '[1]'", "outbox", "revoke bob 'left us'", "known")
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertIn('{"text":"a b"}', result.out)
        self.assertIn("left us", result.out)

    def test_what_needs_a_node_says_so(self):
        for line in "peers", "status", "health", "sync", "request-keys", "reload-cache", "watch":
            self.check_sentence(self.script(line), FAILED, "km-node run")


class Typed(Shell):
    def test_lines_and_the_end(self):
        terminal = self.terminal()
        terminal.say("add a 'two words'\r", "written\r\n" + PROMPT)
        self.assertIn("two words", terminal.say("get a\r", PROMPT))
        self.assertIn("error:", terminal.say("lits\r", PROMPT))
        terminal.type("\x04")
        terminal.rest()
        self.assertEqual(terminal.child.returncode, OK)

    def test_the_terminal_is_as_before(self):
        terminal = self.terminal()
        raw = terminal.attributes()
        self.assertEqual(raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG), 0)
        terminal.say("quit\r", "quit\r\n")
        terminal.rest()
        flags = terminal.attributes()[3]
        wanted = termios.ICANON | termios.ECHO | termios.ISIG
        self.assertEqual(flags & wanted, wanted)

    def test_completion(self):
        terminal = self.terminal()
        terminal.say("ann\t", "ounce-key ")
        terminal.say("\x03", "^C\r\n" + PROMPT)
        terminal.say("add a/one 1\r", PROMPT)
        terminal.say("add a/two 2\r", PROMPT)
        terminal.say("get a\t", "/")
        terminal.say("\t", "a/one  a/two")
        terminal.say("t\t", "wo ")
        self.assertIn("2", terminal.say("\r", "\r\n2\r\n" + PROMPT))
        terminal.say("list pri\t", "vate ")
        terminal.say("\r", "nothing there\r\n" + PROMPT)
        terminal.say("nothing\t", "\x07")

    def test_quoted_completion(self):
        terminal = self.terminal()
        terminal.say("add 'a key' value\r", PROMPT)
        terminal.say("get a\t", '"a key" ')
        terminal.say("\r", "value\r\n" + PROMPT)
        terminal.say("get 'a\t", "key' ")
        terminal.say("\r", "value\r\n" + PROMPT)

    def test_history(self):
        terminal = self.terminal()
        terminal.say("add first 1\r", PROMPT)
        terminal.say("get first\r", "\r\n1\r\n" + PROMPT)
        terminal.type("\x04")
        terminal.rest()
        path = os.path.join(self.node.dir, "run/shell_history")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        terminal = self.terminal()
        terminal.say("\x1b[A", "get first")
        terminal.say("\r", "\r\n1\r\n" + PROMPT)
        terminal.say("\x1bOA\x1b[A", "add first 1")
        terminal.say("\r", "written\r\n" + PROMPT)

    def test_a_history_of_somebody_else_is_not_followed(self):
        target = self.file("target", b"precious")
        os.symlink(target, os.path.join(self.node.dir, "run/shell_history"))
        terminal = self.terminal()
        terminal.say("list\r", PROMPT)
        terminal.type("\x04")
        terminal.rest()
        with open(target, "rb") as file:
            self.assertEqual(file.read(), b"precious")

    def test_editing(self):
        terminal = self.terminal()
        # Home, Delete, End, Backspace, left, word left, text of more than a byte a character.
        terminal.type("xdd a äöü!")
        terminal.type("\x7f\x1b[H\x1b[3~a\x1b[F")
        terminal.say("\r", "written\r\n" + PROMPT)
        self.assertIn("äöü", terminal.say("get a\r", "\r\näöü\r\n" + PROMPT))
        terminal.type("\x1b\x15get b\x1b[D\x1b[C\x7f")
        terminal.say("a\r", "\r\näöü\r\n" + PROMPT)
        terminal.say("garbage\x15list private\r", "nothing there\r\n" + PROMPT)

    def test_many_lines_at_once(self):
        terminal = self.terminal()
        terminal.type("add a 1\radd b 2\rget a\rget b\r\x04")
        seen = terminal.rest()
        self.assertEqual(re.findall(r"\n([12])\r", seen), ["1", "2"])


class WithNode(Shell):
    def test_the_running_node_answers(self):
        self.node.start()
        result = self.script("health", "add a 1", "get a", "sync", "request-keys",
                             "request-whitelist", "announce-key", "cleanup", "reload-cache",
                             "verify-signature a", "shares", "status")
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertIn("alice runs for", result.out)

    def test_watch_ends_by_ctrl_c_and_the_shell_goes_on(self):
        self.node.start()
        terminal = self.terminal()
        terminal.type("watch docs a/\r")
        terminal.until("watch docs a/\r\n")
        self.changes_are_seen(terminal)
        terminal.say("\x03", "^C\r\n" + PROMPT)
        terminal.say("get a/1\r", "\r\nnew\r\n" + PROMPT)

    def changes_are_seen(self, terminal):
        def seen():
            self.node.run("kv", "put", "docs", "b", "not watched")
            self.node.run("kv", "put", "docs", "a/1", "new")
            terminal.read(0.2)
            return "docs a/1 = new" in terminal.shown
        daemon_lab.until("the change is shown", seen)
        self.assertNotIn("not watched", terminal.shown)

    def test_a_node_that_ends_and_comes_back(self):
        self.node.start()
        terminal = self.terminal()
        terminal.say("add a 1\r", "written\r\n" + PROMPT)
        self.node.stop()
        terminal.say("get a\r", "error:")
        terminal.until(PROMPT)
        terminal.say("get a\r", "\r\n1\r\n" + PROMPT)  # of the store
        self.node.start()  # which is free for it
        terminal.say("health\r", "alice runs for")
        terminal.until(PROMPT)
        terminal.say("get a\r", "\r\n1\r\n" + PROMPT)


class Interactive(Shell):
    def start_run(self):
        terminal = Terminal(self, "run", "--interactive", "--config", self.node.dir)
        terminal.until(PROMPT)
        return terminal

    def test_commands_beside_the_node(self):
        terminal = self.start_run()
        terminal.say("health\r", "alice runs for")
        terminal.until(PROMPT)
        terminal.say("add a 1\r", "written\r\n" + PROMPT)
        self.assertEqual(self.node.run("kv", "get", "docs", "a").out, "1")
        terminal.say("ge\t", "t ")
        terminal.say("a\r", "\r\n1\r\n" + PROMPT)
        terminal.type("\x04")
        terminal.rest()
        self.assertEqual(terminal.child.returncode, OK)

    def test_the_terminal_goes_away_from_a_busy_node(self):
        """The end of its input and the signal of it arrive together."""
        terminal = self.start_run()
        terminal.child.send_signal(signal.SIGSTOP)
        terminal.type("\x04")
        terminal.child.send_signal(signal.SIGHUP)
        terminal.child.send_signal(signal.SIGCONT)
        terminal.rest()
        self.assertEqual(terminal.child.returncode, OK)

    def test_the_node_works_while_somebody_types(self):
        terminal = self.start_run()
        terminal.type("add unfinished \x1b")
        self.assertEqual(self.node.run("kv", "put", "docs", "a", "1").status, OK)
        terminal.say("\x15get a\r", "\r\n1\r\n" + PROMPT)

    def test_watch_ends_by_ctrl_c_and_the_node_goes_on(self):
        terminal = self.start_run()
        terminal.say("watch\r", "watch\r\n")
        self.assertEqual(self.node.run("kv", "put", "docs", "a", "1").status, OK)
        terminal.until("docs a = 1")
        terminal.say("\x03", "^C\r\n" + PROMPT)
        self.assertEqual(self.node.run("health").status, OK)
        terminal.say("\x03", "^C\r\n" + PROMPT)
        self.assertEqual(self.node.run("health").status, OK)

    def test_a_script_beside_the_node(self):
        result = self.node.run("run", "--interactive", stdin=b"add a 1\nget none\nget a\n")
        self.assertEqual(result.status, FAILED)
        self.assertIn("docs: a written\n", result.out)
        self.assertRegex(result.out, "(?m)^1$")

    def test_a_terminal_that_goes_away_ends_a_watch_and_the_node(self):
        terminal = self.start_run()
        terminal.say("watch\r", "watch\r\n")
        terminal.hang_up()
        terminal.child.wait(LIMIT)

    def test_a_signal_restores_the_terminal(self):
        terminal = self.start_run()
        terminal.child.terminate()
        terminal.rest()
        wanted = termios.ICANON | termios.ECHO | termios.ISIG
        self.assertEqual(terminal.attributes()[3] & wanted, wanted)


if __name__ == "__main__":
    main()
