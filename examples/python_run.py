"""One command, one VM, nothing left behind.

python examples/python_run.py
"""

from pyro_mcp import Pyro, PyroError


def main() -> None:
    pyro = Pyro()
    result = pyro.run_in_vm("debian:12", "git --version && uname -r", timeout_seconds=60)
    print(result["stdout"], end="")
    print(f"exit code {result['exit_code']} after {result['duration_ms']} ms on", end=" ")
    print(result["execution_mode"])

    # A command that fails is a result. Only failures of pyro itself are exceptions.
    failed = pyro.run_in_vm("debian:12", ["ls", "/no/such/file"], timeout_seconds=60)
    print(f"exit code {failed['exit_code']}: {failed['stderr']}", end="")
    try:
        pyro.run_in_vm("debian:99", "true")
    except PyroError as error:
        print(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
