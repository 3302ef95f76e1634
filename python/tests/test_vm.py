"""VMs step by step."""

from __future__ import annotations

import pytest
from conftest import ENVIRONMENT, Home
from documents import check

from pyro_mcp import PyroError, UnknownVm, results

pytestmark = pytest.mark.vm


def test_a_vm_from_create_to_its_one_command(home: Home) -> None:
    pyro = home.pyro
    created = pyro.create_vm(ENVIRONMENT, ttl_seconds=300)
    check(created, results.VmInfo)
    assert (created["state"], created["network_enabled"]) == ("created", False)
    vm = created["vm_id"]
    network = pyro.network_info_vm(vm)
    check(network, results.VmNetworkInfo)
    assert network["network_policy"] == "off"
    assert pyro.start_vm(vm)["state"] == "started"
    listed = pyro.list_vms()
    check(listed, results.VmList)
    assert [each["vm_id"] for each in listed["vms"]] == [vm]
    assert pyro.stop_vm(vm)["state"] == "stopped"
    assert pyro.start_vm(vm)["state"] == "started"
    assert pyro.status_vm(vm)["state"] == "started"
    ran = pyro.exec_vm(vm, command="echo out; echo err >&2; exit 9", timeout_seconds=60)
    check(ran, results.VmExec)
    assert (ran["stdout"], ran["stderr"], ran["exit_code"]) == ("out\n", "err\n", 9)
    with pytest.raises(UnknownVm) as caught:
        pyro.status_vm(vm)
    assert caught.value.code == "unknown_vm"
    assert pyro.list_vms() == {"vms": []}


def test_a_vm_can_be_deleted_at_any_point(home: Home) -> None:
    vm = home.pyro.create_vm(ENVIRONMENT)["vm_id"]
    with pytest.raises(PyroError):
        home.pyro.exec_vm(vm, command="true")
    vm = home.pyro.create_vm(ENVIRONMENT)["vm_id"]
    deleted = home.pyro.delete_vm(vm)
    check(deleted, results.VmDelete)
    with pytest.raises(UnknownVm):
        home.pyro.delete_vm(vm)


def test_what_expired_is_told_once(home: Home) -> None:
    # Not started: however busy the host is, it is there before its time is over.
    vm = home.pyro.create_vm(ENVIRONMENT, ttl_seconds=1)["vm_id"]
    vms: list[str] = []
    while vm not in vms:
        reaped = home.pyro.reap_expired()
        check(reaped, results.VmReapExpired)
        assert reaped["reaped_workspace_ids"] == []
        vms += reaped["reaped_vm_ids"]
    assert vms == [vm]
    assert home.pyro.reap_expired()["count"] == 0
