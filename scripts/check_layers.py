"""Checks the layers of the workspace: `cargo metadata --no-deps` on standard input.

A crate may depend on those of this repository that are named here, and keeps away from what it must not
know. Dependencies of tests are left alone.
"""

import json
import pathlib
import re
import sys

# Crate: the crates of this repository that it may know directly.
MAY_KNOW = {
    "pyro-format": set(),
    "pyro-durable": set(),
    "pyro-store": {"pyro-format", "pyro-durable"},
    "pyro-proto": {"pyro-format"},
    "pyro-agent": {"pyro-format", "pyro-proto"},
    "pyro-api": set(),
    "pyro-machine": {"pyro-durable"},
    "pyro-image": {"pyro-durable"},
    "pyro-apply": {"pyro-durable", "pyro-format", "pyro-store"},
    "pyro-oci": {"pyro-format", "pyro-store"},
    "pyro-vmm": {
        "pyro-api", "pyro-apply", "pyro-durable", "pyro-format", "pyro-image", "pyro-machine", "pyro-oci", "pyro-proto",
        "pyro-store",
    },
    "pyro-mcp": {"pyro-api"},
    "pyro-cli": {"pyro-api", "pyro-format", "pyro-machine", "pyro-mcp", "pyro-vmm"},
}  # fmt: skip

# Crate: crates from elsewhere that would break what is promised of it.
NETWORK = {"axum", "hyper", "reqwest", "tokio", "tokio-vsock", "vhost", "vhost-user-backend"}
MUST_NOT_KNOW = {
    "pyro-format": NETWORK | {"nix", "libc", "rustix", "tempfile"},
    "pyro-store": NETWORK | {"anstream", "clap", "indicatif"},
    "pyro-agent": {"sled", "axum", "hyper"},
    "pyro-machine": {"sled", "axum"},
    "pyro-image": NETWORK | {"sled"},
    "pyro-apply": NETWORK | {"sled"},
    "pyro-oci": {"sled", "axum", "vhost", "tokio-vsock"},
    "pyro-api": {"sled", "axum"},
    "pyro-mcp": {"sled", "fuser", "clap", "anstream"},
    "pyro-cli": {"sled", "axum", "fuser"},
}

# Crate: what its own sources never name, and why.
SILENT = r"\b(e?println|e?print|dbg)!"
NEVER_NAMES = {
    "pyro-format": (r"\bstd::(fs|net|process|env|time)\b|" + SILENT, "values only: no I/O, no clock"),
    "pyro-store": (r"\bstd::(net|os::unix::net)\b|" + SILENT, "no network, and libraries stay silent"),
    "pyro-proto": (r"\bstd::(fs|net|process)\b|" + SILENT, "the wire only"),
    "pyro-api": (SILENT, "libraries stay silent"),
    "pyro-mcp": (SILENT, "standard output belongs to the protocol"),
    "pyro-machine": (r"pyro_(proto|agent|store)|" + SILENT, "knows nothing of what runs in the guest"),
    "pyro-image": (r"pyro_(machine|store|vmm)|" + SILENT, "knows no machine, no workspace, no store"),
    "pyro-oci": (r"pyro_(image|machine|proto|vmm)|" + SILENT, "knows no catalog, no machine and no workspace"),
    "pyro-apply": (r"pyro_(machine|proto|vmm)|" + SILENT, "knows no machine and no workspace"),
}


def sources(folder: pathlib.Path):
    """Sources of a crate without its tests."""
    for path in sorted((folder / "src").rglob("*.rs")):
        if "tests" not in path.parts and not path.stem.endswith("tests"):
            text = path.read_text()
            yield path, text.split("#[cfg(test)]\nmod ")[0]


def complaints(metadata: dict):
    packages = {package["name"]: package for package in metadata["packages"]}
    for name in sorted(packages.keys() - MAY_KNOW.keys()):
        yield f"{name} has no place in the layers: add it to scripts/check_layers.py"
    for name, package in packages.items():
        needed = [dep for dep in package["dependencies"] if dep["kind"] in (None, "build")]
        for dep in needed:
            if dep.get("path") and dep["name"] not in MAY_KNOW.get(name, set()):
                yield f"{name} depends on {dep['name']}, which it must not know"
            if dep["name"] in MUST_NOT_KNOW.get(name, set()):
                yield f"{name} depends on {dep['name']}, which it must do without"
        folder = pathlib.Path(package["manifest_path"]).parent
        for path in sorted(folder.rglob("src/**/*.rs")):
            if path.name != "sys.rs" and "allow(unsafe_code)" in path.read_text():
                yield f"{path}: unsafe code belongs in the crate's sys.rs"
        if name in NEVER_NAMES:
            pattern, why = NEVER_NAMES[name]
            for path, text in sources(folder):
                for number, line in enumerate(text.splitlines(), 1):
                    if re.search(pattern, line) and not line.lstrip().startswith("//"):
                        yield f"{path}:{number}: {name}: {why}: {line.strip()}"


found = list(complaints(json.load(sys.stdin)))
for complaint in found:
    print(f"layers: {complaint}", file=sys.stderr)
sys.exit(1 if found else 0)
