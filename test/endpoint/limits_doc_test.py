"""docs/limits.md against the tree: every row names a test that exists and runs, and a constant or an
option that exists and has the value that the row gives. First the check itself is checked: it has to
refuse rows that were made up."""
import functools
import glob
import os
import re
import sys

ROOT = os.environ.get("KM_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "..", "..")
DOC = os.path.join("docs", "limits.md")
MODULES = ["base", "magicsock", "endpoint", "relay", "holepunch", "store", "discovery", "cmd"]
BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Structs with options, and the files that have their defaults.
OPTIONS = [(os.path.join("endpoint", "include", "keymesh", "endpoint.h"),
            os.path.join("endpoint", "options.c")),
           (os.path.join("endpoint", "include", "keymesh", "mesh.h"),
            os.path.join("endpoint", "mesh", "mesh_options.c")),
           (os.path.join("store", "include", "keymesh", "store.h"),
            os.path.join("store", "store_io.c")),
           (os.path.join("relay", "server.h"), os.path.join("relay", "server_io.c")),
           (os.path.join("discovery", "server", "server.h"),
            os.path.join("discovery", "server", "server_io.c"))]
SECONDS = {"ms": 0.001, "s": 1, "minutes": 60, "hour": 3600, "hours": 3600, "day": 86400, "days": 86400}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def tree(modules, endings):
    """{path: text} of the files of some folders."""
    found = {}
    for module in modules:
        for ending in endings:
            for path in glob.glob(os.path.join(ROOT, module, "**", "*" + ending), recursive=True):
                found[os.path.relpath(path, ROOT)] = read(path)
    return found


SOURCES = tree(MODULES, [".c", ".h"])
TESTS = tree(["test"], [".c", ".py", ".sh"])


@functools.lru_cache(maxsize=None)
def definitions(name):
    """The expressions that a constant is defined as, by #define or in an enum."""
    pattern = re.compile(rf"#define {name}[ \t]+([^\n]+)|\b{name} = ([^,}}\n]+)")
    return {(m.group(1) or m.group(2)).split("/*")[0].strip()
            for text in SOURCES.values() for m in pattern.finditer(text)}


@functools.lru_cache(maxsize=None)
def value_of(expression, depth=0):
    """A constant expression of C as a number; None when it is none."""
    text = re.sub(r"U?INT\d+_C\((\d+)\)", r"\1", expression)
    text = re.sub(r"\((size_t|uint\d+_t|km_ts)\)", "", text)
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)
    for name in set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", text)):
        values = {value_of(e, depth + 1) for e in definitions(name)} if depth < 8 else set()
        if len(values) != 1 or None in values:
            return None
        text = re.sub(rf"\b{name}\b", str(values.pop()), text)
    if not re.fullmatch(r"[\d\sxa-fA-F()+\-*/<>|]+", text):
        return None
    return eval(text.replace("/", "//"), {"__builtins__": {}})  # digits and operators only


def numbers_in(text):
    """What a cell may mean: numbers with their units taken into account."""
    found = set()
    text = text.replace("2^20 - 1", str((1 << 20) - 1))
    for number, unit in re.findall(r"(\d[\d,]*\d|\d)(?: ([A-Za-z]+))?", text):
        n = int(number.replace(",", ""))
        if unit in BYTES:
            found.add(n * BYTES[unit])
        elif unit in SECONDS:
            found.update(round(n * SECONDS[unit] * scale) for scale in (1, 10**3, 10**9))
        else:
            found.add(n)
    return found


def check_constant(name, default):
    expressions = definitions(name)
    if not expressions:
        return f"there is no constant {name}"
    values = {value_of(e) for e in expressions}
    if None in values:
        return f"{name} is {sorted(expressions)}: not a number"
    if len(values) > 1:
        return f"{name} has several values: {sorted(values)}"
    return None if values & numbers_in(default) else f"{name} is {values.pop()}, not {default!r}"


def check_option(name, default):
    known = False
    for header, defaults in OPTIONS:
        if not re.search(rf"\b{name}\b[^;\n]*;", SOURCES[header]):
            continue
        known = True
        given = re.search(rf"^ +\.{name} = ([^,\n]+),", SOURCES[defaults], re.M)
        value = None if given is None else value_of(given.group(1).strip())
        if given is None or value in numbers_in(default):
            return None  # or a callback, or nothing by default
    return f"{name} is not {default!r}" if known else f"there is no option {name}"


def check_bound(cell, default):
    """The second column: `CONSTANT`, `option`, or words for what is not ours."""
    words = re.findall(r"`([^`]+)`", cell)
    for word in words:
        if re.fullmatch(r"[A-Z][A-Z0-9_]+", word):
            yield check_constant(word, default)
        elif re.fullmatch(r"km_\w+_options|on_\w+", word):
            known = any(re.search(rf"\b{word}\b", text) for path, text in SOURCES.items()
                        if "/include/keymesh/" in path)
            yield None if known else f"there is no {word}"
        elif word in SOURCES:
            yield None  # the file that sets it
        elif re.fullmatch(r"[a-z][a-z0-9_]+", word) and len(words) == 1 and cell == f"`{word}`":
            yield check_option(word, default)
        elif re.fullmatch(r"[a-z][a-z0-9_]+", word):  # a sum that contains an option
            complaint = check_option(word, "")
            yield complaint if complaint and complaint.startswith("there is no") else None
        else:
            yield f"what is `{word}`?"


def check_test(name, filename):
    """It is defined, and listed among those that run."""
    if name.endswith("/"):
        return None if glob.glob(os.path.join(ROOT, name, "*_test.*")) else f"no tests in {name}"
    for path, text in TESTS.items():
        if filename and os.path.basename(path) != os.path.basename(filename):
            continue
        if path.endswith(".c") and re.search(rf"^static void {name}\(", text, re.M) and \
                re.search(rf"\w\(\s*{name}[,)]", text):
            return None
        if path.endswith(".py") and re.search(rf"def {name}\(self", text):
            return None
    return f"there is no test {name}" + (f" in {filename}" if filename else "")


def check_tests(cell):
    if cell in ("", "none"):
        yield None if cell == "none" else "no test is named, not even `none`"
        return
    named = re.findall(r"`([^`]+)`(?: \(`([^`]+)`\))?", cell)
    if not named:
        yield f"no test in {cell!r}"
    for name, filename in named:
        yield check_test(name, filename)


def check(text):
    """Complaints about a text, and how many rows it has."""
    complaints, rows = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|") or line.startswith("|---") or line.startswith("| what |"):
            continue
        cells = [c.strip("| ") for c in re.split(r"\s*\|\s*", line.strip()[1:-1])]
        rows += 1
        if len(cells) != 5:
            complaints.append(f"{number}: {len(cells)} columns: {line}")
            continue
        found = list(check_bound(cells[1], cells[2])) + list(check_tests(cells[4]))
        complaints += [f"{number}: {cells[0]}: {c}" for c in found if c]
    for name in re.findall(r"`(test_\w+)`", text):
        if check_test(name, None):
            complaints.append(check_test(name, None))
    return complaints, rows


GOOD = "| x | `KM_CONN_MAX_PATHS` | 8 | y | `paths_of_a_connection_are_bounded` (`path_test.c`) |"
MADE_UP = {
    "a constant": "| x | `KM_CONN_MAX_UNICORNS` | 8 | y | `paths_of_a_connection_are_bounded` |",
    "a value": "| x | `KM_CONN_MAX_PATHS` | 9 | y | `paths_of_a_connection_are_bounded` |",
    "a unit": "| x | `RETRY_TOKEN_LIFETIME_NS` | 10 ms | y | `paths_of_a_connection_are_bounded` |",
    "a file": "| x | `endpoint/unicorn.c` | 8 | y | `paths_of_a_connection_are_bounded` |",
    "an option": "| x | `max_unicorns` | 8 | y | `paths_of_a_connection_are_bounded` |",
    "an option's value": "| x | `max_half_open` | 1,025 | y | `paths_of_a_connection_are_bounded` |",
    "a test": "| x | `KM_CONN_MAX_PATHS` | 8 | y | `unicorns_are_bounded` |",
    "a test of another file": GOOD.replace("path_test.c", "conn_test.c"),
    "a function that is no test": "| x | | 8 | y | `has_ipv6` |",
    "no test": "| x | `KM_CONN_MAX_PATHS` | 8 | y | |",
    "a column too few": "| x | `KM_CONN_MAX_PATHS` | 8 | `paths_of_a_connection_are_bounded` |",
}


def main():
    if check(GOOD) != ([], 1):
        sys.exit(f"a right row is refused: {check(GOOD)}")
    for what, row in MADE_UP.items():
        if not check(row)[0]:
            sys.exit(f"{what} was made up, and it passes: {row}")
    complaints, rows = check(read(DOC))
    if rows < 40:
        sys.exit(f"{DOC} has only {rows} rows: is it read at all?")
    if complaints:
        sys.exit("\n".join(f"{DOC}:{c}" for c in complaints))
    print(f"{rows} rows")


main()
