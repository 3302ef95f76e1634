"""A loop with the OpenAI Responses API and one tool: `vm_run`.

    OPENAI_API_KEY=... OPENAI_MODEL=... python examples/openai_responses_vm_run.py "TASK"

`OPENAI_BASE_URL` may name another server that speaks the same API. Needs the `openai` package.
"""

import json
import os
import sys

from openai import OpenAI
from openai.types.responses import FunctionToolParam, ResponseInputParam

from pyro_mcp import Pyro, PyroError

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5")
TURNS = 10

VM_RUN: FunctionToolParam = {
    "type": "function",
    "name": "vm_run",
    "description": (
        "Run one command in a fresh microVM and remove the VM afterwards, whatever happens. The VM"
        " holds no files of this host and keeps nothing. Answers exit_code (124 after the timeout),"
        " stdout and stderr."
    ),
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {
            "environment": {"type": "string", "enum": ["debian:12", "debian:12-base"]},
            "command": {"type": "string", "description": "Shell command."},
            "timeout_seconds": {"type": "number", "description": "Kill it after so many seconds."},
            "network": {"type": "boolean", "description": "Connections to public addresses."},
        },
        # The API's strict mode wants all of them.
        "required": ["environment", "command", "timeout_seconds", "network"],
        "additionalProperties": False,
    },
}


def vm_run(arguments: str) -> str:
    """What the model reads: the result, or why there is none."""
    try:
        given = json.loads(arguments)
        result = Pyro().run_in_vm(
            environment=given["environment"],
            command=given["command"],
            timeout_seconds=given["timeout_seconds"],
            network=given["network"],
        )
        return json.dumps(result)
    except PyroError as error:
        failure = {"code": error.code, "message": error.message, "hint": error.hint}
        return json.dumps({"error": failure})
    except (ValueError, KeyError, TypeError) as error:
        return json.dumps({"error": {"code": "invalid_argument", "message": repr(error)}})


def main(task: str) -> str:
    client = OpenAI()
    said: ResponseInputParam = [{"role": "user", "content": task}]
    previous = None
    for _ in range(TURNS):
        response = client.responses.create(
            model=MODEL, input=said, tools=[VM_RUN], previous_response_id=previous
        )
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        # Every call is answered by its id; the server still has what was said before.
        previous = response.id
        said = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": vm_run(call.arguments),
            }
            for call in calls
        ]
    return f"no answer after {TURNS} turns"


if __name__ == "__main__":
    print(main(sys.argv[1] if len(sys.argv) > 1 else "Which version of git does debian:12 have?"))
