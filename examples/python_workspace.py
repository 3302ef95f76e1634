"""The whole job: create, sync, exec, diff, export, delete.

python examples/python_workspace.py [DIRECTORY]
"""

import sys
import tempfile
from pathlib import Path

from pyro_mcp import Pyro

SAMPLE = Path(__file__).parent.parent / "fixtures" / "sample-project"


def main(seed: Path, place: Path) -> None:
    pyro = Pyro()
    # create: /workspace starts as this directory, the baseline, which never changes.
    workspace = pyro.create_workspace("debian:12", seed)["workspace_id"]
    try:
        # sync: files of the host that came later go in, all of them or none.
        names = place / "names.txt"
        names.write_text("Ada\nGrace\nBarbara\n")
        pyro.push_workspace_sync(workspace, names)

        # exec: as often as needed; every command is logged.
        ran = pyro.exec_workspace(workspace, command="./run.sh > greetings.txt; wc -l *.txt")
        print(ran["stdout"], end="")
        print(f"commands so far: {len(pyro.logs_workspace(workspace)['entries'])}")

        # diff: against the baseline, whatever was pushed or run since.
        diff = pyro.diff_workspace(workspace)
        for entry in diff["entries"]:
            print(f"{entry['status']:9} {entry['path']}")
        print(diff["patch"], end="")

        # export: exactly the tree that was just reviewed, whole or not at all.
        output = place / "result"
        exported = pyro.export_workspace(workspace, ".", output_path=output, tree=diff["tree"])
        print(f"exported {exported['entry_count']} entries")
        for warning in exported["warnings"]:
            print(f"look before you use it: {warning}")
        print((output / "greetings.txt").read_text(), end="")
    finally:
        # delete: nothing is left. The directory itself was never written to.
        pyro.delete_workspace(workspace)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE, Path(directory))
