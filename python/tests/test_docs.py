"""docs/python.md is written from the code; `PYRO_UPDATE_DOCS=1` writes it anew."""

# ruff: noqa: E501
from __future__ import annotations

import inspect
import os
import re
import textwrap

from conftest import ROOT

from pyro_mcp import Pyro, PyroServer, errors

PAGE = ROOT / "docs" / "python.md"

HEAD = """\
# Python SDK

```python
from pyro_mcp import Pyro

pyro = Pyro()
print(pyro.run_in_vm("debian:12", "git --version")["stdout"])
```

The wheel `pyro-mcp` has both the `pyro` command and this package; Python 3.10 or newer, no other package needed.
Every call runs `pyro ... --json` and returns its document ([public-contract.md](public-contract.md)) as a dictionary;
`pyro_mcp.results` has the types for type checkers. Complete programs are in [examples](../examples).

- `command` is a text for `sh -c`, or a sequence: the program and its arguments.
- Paths may be `str`, `bytes` or `os.PathLike` and hold any bytes. Where a document's text had to replace bytes,
  `exact_bytes(document, field)` gives all of them.
- A command that fails in the guest has a result with its `exit_code`. Only failures of pyro are exceptions, all of them
  `PyroError` with `code`, `message`, `hint` and `exit_code`.
- An exception that interrupts a call (`KeyboardInterrupt`) undoes what the call had half done before it is raised.

"""


def told(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def signature(owner: type, name: str) -> str:
    """As in the source, without `self`."""
    text = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    found = re.match(r"def (.*?):\n", text, re.DOTALL)
    assert found, name
    return re.sub(r"\((\n    )?self(,\n    |, |(?=\)))", r"(\1", found[1], count=1)


def members(owner: type) -> list[str]:
    return [
        name
        for name, member in vars(owner).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]


def page() -> str:
    text = HEAD
    source = inspect.getsource(Pyro)
    text += f"## `Pyro(*, binary=None, home=None)`\n\n{told(Pyro.__init__)}\n\n"
    for name in members(Pyro):
        before = source[: source.index(f"    def {name}(")]
        section = re.search(r"\n    # (.*)\n\n\Z", before)
        if section:
            text += f"## {section[1]}\n\n"
        text += f"```python\n{signature(Pyro, name)}\n```\n\n{told(getattr(Pyro, name))}\n\n"
    text += f"## `PyroServer`\n\n{told(PyroServer)}\n\n"
    for name in members(PyroServer):
        what = " ".join(told(getattr(PyroServer, name)).split())
        text += f"- `{signature(PyroServer, name)}`: {what}\n"
    tree = textwrap.dedent(str(errors.__doc__).partition("\n")[2]).strip()
    return f"{text}\n## Errors\n\n```text\n{tree}\n```\n"


def test_the_page_is_what_the_code_says() -> None:
    if os.environ.get("PYRO_UPDATE_DOCS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "PYRO_UPDATE_DOCS=1 pytest python/tests/test_docs.py"
