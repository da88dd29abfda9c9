"""A component in Python, for componentize-py: a tool that does what its arguments say."""

import json
import os
import sys
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host


def read(given):
    with open(given["path"]) as file:
        return file.read()


def write(given):
    with open(given["path"], "w") as file:
        file.write(given["text"])
    return sorted(os.listdir(os.path.dirname(given["path"])))


def sleep(given):
    time.sleep(given["seconds"])


def fail(given):
    raise Err(given["text"])


def fall(given):
    raise ValueError(given["text"])


def say(given):
    print(given["text"])
    print(given["text"], file=sys.stderr)
    host.log(host.Level.INFO, "logged")


def ask(given):
    return json.loads(host.call(given["op"], json.dumps(given["params"])))


TOOLS = {
    "read": read,
    "write": write,
    "sleep": sleep,
    "fail": fail,
    "fall": fall,
    "say": say,
    "ask": ask,
    "env": lambda given: dict(os.environ),
    "echo": lambda given: given,
}


class Guest(exports.Guest):
    def describe(self) -> str:
        return json.dumps({"name": "echo", "version": "1.0.0"})

    def list_tools(self) -> str:
        return json.dumps({"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]})

    def call_tool(self, name: str, arguments: str) -> str:
        return json.dumps(TOOLS[name](json.loads(arguments)))
