"""The vectors of test/base/vectors.h, taken from the real iroh binding."""
import ast
import os
import re

from lab import SOURCE


def _table(name):
    with open(os.path.join(SOURCE, "test/base/vectors.h"), encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    body = re.search(rf"\b{name}\[\] = (\{{.*?\n\}});", text, re.S).group(1)
    body = body.replace("{", "[").replace("}", "]").replace("NULL", "None")
    return ast.literal_eval(body.replace("true", "True").replace("false", "False"))


def keys():
    return [dict(zip(("secret", "id", "short", "base32", "z32", "tls_name"), row))
            for row in _table("key_vectors")]


def tickets():
    names = ("name", "id", "relay_in", "relay_out", "udp_in", "udp_out", "bytes", "ticket")
    rows = [dict(zip(names, row)) for row in _table("ticket_vectors")]
    for row in rows:
        for member in "udp_in", "udp_out":
            row[member] = [addr for addr in row[member] if addr is not None]
    return rows
