"""`vm_run` as a PydanticAI tool: a thin adapter, nothing more.

    MODEL=openai:gpt-5 python examples/pydantic_ai_vm_run.py "TASK"

Needs `pydantic-ai`, or `pydantic-ai-slim` with the extra for the model's provider.
"""

import os
import sys

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.models import Model

from pyro_mcp import Pyro, PyroError
from pyro_mcp.results import CommandResult

agent = Agent()


@agent.tool_plain
def vm_run(
    environment: str, command: str, timeout_seconds: float = 30, network: bool = False
) -> CommandResult:
    """Run one command in a fresh microVM and remove the VM afterwards, whatever happens.

    The VM holds no files of this host and keeps nothing. Answers exit_code (124 after the timeout),
    stdout and stderr.

    Args:
        environment: Name of the environment, such as debian:12.
        command: Shell command.
        timeout_seconds: Kill the command after so many seconds.
        network: Connections to public addresses.
    """
    try:
        return Pyro().run_in_vm(
            environment, command, timeout_seconds=timeout_seconds, network=network
        )
    except PyroError as error:
        # The model shall read why, and try again.
        raise ModelRetry(f"{error.code}: {error}") from error


def main(model: Model | str, task: str) -> str:
    return agent.run_sync(task, model=model).output


if __name__ == "__main__":
    task = " ".join(sys.argv[1:]) or "Which version of git does debian:12 have?"
    print(main(os.environ.get("MODEL", "openai:gpt-5"), task))
