"""A shell that outlives whoever opened it: opened, written and read by three instances.

python examples/python_shell.py
"""

from pyro_mcp import Pyro


def main() -> None:
    workspace = Pyro().create_workspace("debian:12")["workspace_id"]
    try:
        # Each instance could be another process, today or tomorrow: all that they share is two ids
        # and a cursor.
        shell = Pyro().open_shell(workspace, cols=80, rows=24)["shell_id"]

        writer = Pyro()
        writer.write_shell(workspace, shell, input="name=Ada; cd /tmp")
        writer.write_shell(workspace, shell, input='echo "hello, $name, in $PWD"')

        reader, cursor, seen = Pyro(), 0, ""
        while "hello, Ada, in /tmp" not in seen:
            read = reader.read_shell(
                workspace, shell, cursor=cursor, plain=True, wait_for_idle_ms=500
            )
            if read["state"] == "stopped":
                raise SystemExit(f"the shell ended with {read['exit_code']}")
            cursor, seen = read["next_cursor"], seen + read["output"]
        print(seen)

        # Ctrl-C for whatever runs in the foreground; the shell itself goes on.
        reader.write_shell(workspace, shell, input="sleep 1000")
        reader.signal_shell(workspace, shell, signal_name="INT")
        print(f"closed: {reader.close_shell(workspace, shell)['closed']}")

        # Shells are for interactive programs; they leave no trace in the command log.
        print(f"logged commands: {len(reader.logs_workspace(workspace)['entries'])}")
    finally:
        Pyro().delete_workspace(workspace)


if __name__ == "__main__":
    main()
