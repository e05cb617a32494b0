"""House rules that a machine can check. Each failure says what to do instead."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from rules import Reason

ROOT = Path(__file__).parents[1]
SOURCES = sorted(file for folder in ("rules", "proxy") for file in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FUNCTION_LINES_MAX = 70

# What the pure rooms may import: nothing here can wait, read a clock, open a socket or write a log.
PURE_IMPORTS = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "datetime",
    "decimal", "difflib", "enum", "functools", "hashlib", "hmac", "itertools", "json", "math", "operator", "re",
    "string", "types", "typing", "urllib.parse",
}  # fmt: skip
RULES_IMPORTS = PURE_IMPORTS | {"pydantic", "pydantic_core", "rules", "zoneinfo"}  # zones are read when a policy is
EXCHANGES_IMPORTS = PURE_IMPORTS | {
    "orjson", "cryptography", "rules", "proxy.wire", "proxy.errors", "proxy.exchanges",
}  # fmt: skip

# A page generator prints when it is run as a program; nothing of the core imports it.
PRINTS_A_PAGE = {("rules/describe.py", "sys")}

# Where outside code may reach past the front door of `rules`, and why.
INSIDE_OF_RULES = {
    "rules.profile": "the models of what people write: stores, admin API and commands read and show them",
    "rules.limits": "the layering of limits, which the policy store caches",
    "rules.ess": "the transition table, which the latch on disk walks",
}

# Source files without a mirrored test file, and where they are tested instead.
TESTED_ELSEWHERE: dict[str, str] = {
    "proxy/__main__.py": "tests/proxy/cli/test_main.py",  # runs it as a process
    "proxy/stores/base.py": "tests/contracts/test_stores.py",  # one contract for every store
    "proxy/stores/memory.py": "tests/contracts/test_stores.py",
    "proxy/stores/sql.py": "tests/contracts/test_stores.py",
    "proxy/stores/tables.py": "tests/contracts/test_stores.py",
    "proxy/stores/starter.py": "tests/proxy/cli/test_starter.py",  # what `init` writes
}

# Packages whose modules are tested through the package's one surface: folder -> where.
TESTED_AS_ONE: dict[str, str] = {
    "proxy/stores/migrations": "tests/proxy/stores/test_migrations.py",  # walked as a whole
    "proxy/stores/migrations/versions": "tests/proxy/stores/test_migrations.py",
    "proxy/cli/commands": "tests/proxy/cli",  # each command by its own name, through `run`
    "proxy/actions": "tests/proxy/actions",  # a job, run against an exchange over sockets
    "proxy/client": "tests/proxy/client",  # asked against a real listener
    "proxy/audit": "tests/proxy/audit",  # one record: written, read, verified
    "proxy/ledger": "tests/proxy/ledger",  # one set of books: asked as a whole, its parts tried beside it
    "proxy/admin": "tests/proxy/admin",  # an HTTP API, asked over sockets
    "proxy/simulator": "tests/proxy/simulator",  # an exchange, asked over sockets
    "proxy/upstream": "tests/proxy/test_upstream.py",  # a lane, driven against a venue that keeps every byte
}


def name_of(file: Path) -> str:
    """A file's path in the repository."""
    return file.relative_to(ROOT).as_posix()


@cache
def tree_of(file: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(file.read_text("utf-8"), str(file))


def in_room(file: Path, room: str) -> bool:
    """Whether a file lies under a folder of the repository."""
    return name_of(file).startswith(f"{room}/")


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module a file imports, with the line; `from a import b` counts as `a`."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno}: import by full name, not relatively"
            yield str(node.module), node.lineno


def is_listed(module: str, allowed: set[str]) -> bool:
    """Whether a module, or the package it is in, is on a list."""
    parts = module.split(".")
    return any(".".join(parts[:length]) in allowed for length in range(1, len(parts) + 1))


def functions_of(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, inner ones included."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def comments_of(file: Path) -> dict[int, str]:
    """The comments of a file by line."""
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text("utf-8")).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def test_there_is_something_to_check():
    """The lists below are not empty: a moved folder must not turn every rule into a pass."""
    assert {"rules/decision.py", "proxy/config.py"} <= {name_of(file) for file in SOURCES}
    assert len(TESTS) > 3


@pytest.mark.parametrize(("room", "allowed"), [("rules", RULES_IMPORTS), ("proxy/exchanges", EXCHANGES_IMPORTS)])
def test_the_pure_rooms_import_from_a_short_list(room, allowed):
    """`rules/` and `proxy/exchanges/` import nothing that could do I/O; hand in what they need as an argument."""
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for file in SOURCES
        if in_room(file, room)
        for module, line in imports_of(file)
        if not is_listed(module, allowed) and (name_of(file), module) not in PRINTS_A_PAGE
    ]

    assert wrong == []


def test_no_float_in_the_pure_rooms():
    """Money is Decimal there: write Decimal("0.1") for 0.1, and Decimal where `float` stands."""
    wrong = [
        f"{name_of(file)}:{node.lineno}"
        for file in SOURCES
        if in_room(file, "rules") or in_room(file, "proxy/exchanges")
        for node in ast.walk(tree_of(file))
        if (isinstance(node, ast.Name) and node.id == "float" and not is_a_guard(file, node))
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]

    assert wrong == []


def is_a_guard(file: Path, name: ast.Name) -> bool:
    """Whether `float` stands in an isinstance test that refuses it, which is its one good use there."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "isinstance"
        and name in ast.walk(node)
        for node in ast.walk(tree_of(file))
    )


def test_the_core_never_imports_the_shell():
    """`rules` knows nothing of `proxy`; turn the dependency round."""
    wrong = [
        f"{name_of(file)}:{line}"
        for file in SOURCES
        if in_room(file, "rules")
        for module, line in imports_of(file)
        if module.partition(".")[0] == "proxy"
    ]

    assert wrong == []


def test_the_core_is_entered_by_its_front_door():
    """`from rules import X`, so that what is public stays visible; the exceptions are listed with reasons."""
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for file in SOURCES
        if in_room(file, "proxy")
        for module, line in imports_of(file)
        if module.startswith("rules.") and module not in INSIDE_OF_RULES
    ]

    assert wrong == []


def test_aiohttp_stays_where_http_is_spoken():
    """aiohttp is imported by the listeners, feeds, composition root, client and demo; elsewhere take bytes."""
    allowed = (
        "proxy/handler.py", "proxy/admin/", "proxy/feeds/", "proxy/app.py", "proxy/cli/demo.py", "proxy/notifiers/",
        "proxy/simulator/streams.py", "proxy/client/",
    )  # fmt: skip
    wrong = [
        f"{name_of(file)}:{line}"
        for file in SOURCES
        if not name_of(file).startswith(allowed)
        for module, line in imports_of(file)
        if module.partition(".")[0] == "aiohttp"
    ]

    assert wrong == []


def test_every_module_says_what_it_is():
    """Each source and test module begins with a docstring; an empty __init__ needs none."""
    wrong = [
        name_of(file)
        for file in (*SOURCES, *TESTS)
        if tree_of(file).body and ast.get_docstring(tree_of(file)) is None
    ]

    assert wrong == []


def does_something(file: Path) -> bool:
    """Whether a file has a function that acts; nouns, tables, protocols and constructors are tried through others."""
    return any(
        not node.name.startswith("__")
        and any(
            not isinstance(statement, ast.Pass)
            and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            for statement in node.body
        )
        for node in functions_of(file)
    )


def test_every_source_file_has_its_mirrored_test():
    """tests/a/test_b.py mirrors a/b.py; what is tested elsewhere is listed with the place."""
    names = {name_of(file) for file in TESTS}
    wrong = []
    for file in SOURCES:
        name = name_of(file)
        listed = name in TESTED_ELSEWHERE or name.rpartition("/")[0] in TESTED_AS_ONE
        if file.name == "__init__.py" or listed or not does_something(file):
            continue
        mirrored = f"tests/{Path(name).parent.as_posix()}/test_{file.stem}"
        if not any(test == f"{mirrored}.py" or test.startswith(f"{mirrored}_") for test in names):
            wrong.append(f"{name}: expected {mirrored}.py")

    assert wrong == []


def test_the_lists_of_exceptions_are_not_stale():
    """What is tested elsewhere exists, its tests exist, and a file that has its own test leaves the list."""
    wrong = []
    for name, where in (TESTED_ELSEWHERE | TESTED_AS_ONE).items():
        own = ROOT / "tests" / Path(name).parent / f"test_{Path(name).stem}.py"
        place = ROOT / where
        has_tests = place.is_file() or any(place.glob("test_*.py"))
        if not (ROOT / name).exists() or not has_tests or (own.exists() and own != place):
            wrong.append(name)

    assert wrong == []


def test_no_function_is_longer_than_a_screen():
    """At most 70 lines; cut at a seam: the parent keeps the branches, the children do the arithmetic."""
    wrong = [
        f"{name_of(file)}:{node.lineno} {node.name} has {length} lines"
        for file in (*SOURCES, *TESTS)
        for node in functions_of(file)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert wrong == []


def test_every_test_says_what_it_shows():
    """Each test has a docstring: one sentence that states the behaviour."""
    wrong = [
        f"{name_of(file)}:{node.lineno} {node.name}"
        for file in TESTS
        for node in functions_of(file)
        if node.name.startswith("test_") and ast.get_docstring(node) is None
    ]

    assert wrong == []


def test_every_broad_except_says_what_happens_next():
    """`except Exception` stands only where a rule, request or task ends, with a comment saying what comes then."""
    wrong = []
    for file in SOURCES:
        comments = comments_of(file)
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            if re.fullmatch(r"(Base)?Exception", caught) or node.type is None:
                near = {node.lineno - 1, node.lineno, node.body[0].lineno, node.body[0].lineno - 1}
                raises_again = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
                if not raises_again and not near & comments.keys():
                    wrong.append(f"{name_of(file)}:{node.lineno}")

    assert wrong == []


def test_nothing_is_left_for_later():
    """Do it, or open an issue: a note in the code is read by nobody who could act."""
    notes = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    wrong = [
        f"{name_of(file)}:{number}"
        for file in (*SOURCES, *TESTS, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if notes.search(line)
    ]

    assert wrong == []


def test_every_silenced_finding_has_its_reason():
    """`# noqa: X - reason`: who silences a check says why."""
    wrong = [
        f"{name_of(file)}:{line}"
        for file in SOURCES
        for line, comment in comments_of(file).items()
        if (found := re.search(r"noqa(.*)", comment)) and not re.match(r": [A-Z0-9, ]+ - \S", found[1])
    ]

    assert wrong == []


def test_record_numbers_are_unique():
    """Two decisions with one number cannot be referred to; take the next free one when merging."""
    names = [file.name for file in (ROOT / "docs" / "adr").glob("*.md")]
    numbers = [name[:4] for name in names]

    assert names
    assert all(re.fullmatch(r"[0-9]{4}-[a-z0-9-]+\.md", name) for name in names)
    assert len(numbers) == len(set(numbers))


def test_reason_codes_are_words_in_lower_snake_case():
    """One string serves log field, metric label, JSON and documents."""
    assert [reason for reason in Reason if not re.fullmatch(r"[a-z][a-z0-9_]+", reason)] == []
    assert len({reason.value for reason in Reason}) == len(Reason.__members__)


def test_no_reason_is_an_orphan():
    """A reason that no code gives is a promise nobody keeps; remove it."""
    used = "\n".join(file.read_text("utf-8") for file in SOURCES if name_of(file) != "rules/decision.py")

    assert [reason.name for reason in Reason if f"Reason.{reason.name}" not in used] == []


def test_no_rule_stands_twice_in_the_rulebook():
    """The rulebook is the policy: each rule once, each with a sentence."""
    rulebook = pytest.importorskip("rules.rulebook").RULEBOOK
    names = [getattr(rule, "__name__", repr(rule)) for rule in rulebook]

    assert len(names) == len(set(names))
    assert [name for name, rule in zip(names, rulebook, strict=True) if not rule.__doc__] == []


def test_every_test_folder_is_a_package():
    """Without an __init__.py, tests/rules would be imported as `rules` and shadow the real one."""
    folders = {file.parent for file in TESTS if file.name.startswith("test_")}

    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
