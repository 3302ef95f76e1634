"""A VM step by step: create, start, look at it, run its one command.

`run_in_vm` does all this in one call; the steps are for applications that boot ahead of need.

    python examples/python_lifecycle.py
"""

from pyro_mcp import Pyro


def main() -> None:
    pyro = Pyro()
    # Nobody leaves litter by forgetting: after ttl_seconds the VM is deleted.
    vm_id = pyro.create_vm("debian:12", ttl_seconds=300)["vm_id"]
    try:
        print(pyro.status_vm(vm_id)["state"])
        print(pyro.start_vm(vm_id)["state"])
        print(f"network: {pyro.network_info_vm(vm_id)['network_policy']}")
        pyro.stop_vm(vm_id)
        pyro.start_vm(vm_id)
        result = pyro.exec_vm(vm_id, command="hostname; nproc", timeout_seconds=60)
        print(result["stdout"], end="")
        print(f"exit code {result['exit_code']}, VM deleted: {result['deleted']}")
    except BaseException:
        pyro.delete_vm(vm_id)
        raise
    print(f"expired meanwhile: {pyro.reap_expired()['count']}")


if __name__ == "__main__":
    main()
