"""What must agree within the source tree."""

from __future__ import annotations

import re

from conftest import ROOT


def test_the_version_is_the_programs() -> None:
    versions = [
        re.search(r'^version = "(.*)"$', (ROOT / name).read_text(), re.MULTILINE)
        for name in ("Cargo.toml", "pyproject.toml")
    ]
    assert len({version[1] for version in versions if version}) == 1
    assert all(versions)
