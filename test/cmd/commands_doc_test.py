"""docs/commands.md and the README: every command of km-node is there with what it says."""
import os
import re

from lab import SOURCE, Case, main, run

WORDS = {
    "service": ("status", "logs"),
    "cert": ("import", "list"),
    "security": ("status", "init"),
    "key": ("new", "show"),
    "record": ("publish", "resolve"),
    "relay": ("ping",),
    "perf": ("client",),
}


def words_of(name):
    """What may stand behind a command: the list in its help, where it has one."""
    if name not in ("kv", "peer"):
        return WORDS.get(name, ("",))
    found = re.findall(r"^  ([a-z|]+)(?: [A-Z\[]\S*)*  +\S", run(name, "--help").out, re.M)
    return [word for words in found for word in words.split("|")]


def shown():
    """The command lines of all console blocks that have output behind them."""
    lines = []
    for name in ("README.md", "docs/commands.md"):
        with open(os.path.join(SOURCE, name), encoding="utf-8") as file:
            for block in re.findall("^```console\n(.*?)^```$", file.read(), re.M | re.S):
                parts = re.split(r"^[a-z]*\$ ", block, flags=re.M)
                lines += [p.split("\n")[0] for p in parts if len(p.rstrip("\n").split("\n")) > 1]
    return lines


class CommandsDoc(Case):
    def test_every_command_is_there_with_what_it_says(self):
        names = re.findall(r"^  ([a-z][a-z0-9-]*)  +[a-z]", run("--help").out, re.M)
        self.assertIn("run", names)
        self.assertIn("export", words_of("kv"))
        self.assertIn("deny", words_of("peer"))
        lines = "\n".join(shown())
        for name in names:
            for word in words_of(name):
                self.assertRegex(lines, rf"(?m)\bkm-node {name}\b *{word}", (name, word))


if __name__ == "__main__":
    main()
