"""What a server's man page and sample configuration have to have. Not collected by itself: a test
case takes it in, and says NAME ("dns") and RUN (what runs the program)."""
import os
import re
import shutil
import subprocess
import unittest

from lab import SOURCE


class ManPage:
    NAME = RUN = None

    def man(self):
        return os.path.join(SOURCE, f"docs/man/km-{self.NAME}.1")

    def test_the_man_page_has_every_option_and_no_other(self):
        with open(self.man(), encoding="utf-8") as file:
            text = file.read().replace("\\-", "-")
        listed = set(re.findall(r"^\.TP\n\.B[IR]? (--[a-z-]+)", text, re.M))
        told = set(re.findall(r"^\s+(--[a-z-]+)", self.RUN("--help").out, re.M))
        self.assertEqual(listed, told)

    def test_the_man_page_and_the_sample_have_every_key(self):
        folder = os.path.join(SOURCE, "cmd", self.NAME)
        with open(os.path.join(folder, "config.c"), encoding="utf-8") as file:
            table = re.search(r"known\[\] = \{(.*?)NULL\}", file.read(), re.S).group(1)
        keys = set(re.findall(r'"([a-z._]+)"', table))
        self.assertGreater(len(keys), 30)
        for path in self.man(), os.path.join(folder, f"km-{self.NAME}.toml"):
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"\\f[BR]", "", file.read())
            missing = {key for key in keys if not re.search(rf"\b{key.split('.')[-1]}\b", text)}
            self.assertEqual(missing, set(), path)

    @unittest.skipUnless(shutil.which("groff"), "no groff here")
    def test_the_man_page_is_clean(self):
        done = subprocess.run(["groff", "-ww", "-z", "-man", "-Tutf8", self.man()],
                              capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))
