"""A breakpoint set in an editor stops inside a function of a pipeline.

The test is the editor: it drives debugpy over its protocol (DAP), as VS Code does.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 30.0

PRODUCER = """\
from headwater import Application

with Application(name="producer").get_producer() as producer:
    for number in range(3):
        producer.produce("numbers", {"number": number, "unit": "km"}, key="k", timestamp=number)
"""

PIPELINE = """\
from headwater import Application

app = Application(name="pipeline")
sdf = app.dataframe("numbers")


def double(row):
    doubled = row["number"] * 2
    return {"doubled": doubled}


sdf = sdf[sdf["number"].apply(
    lambda number:
        number > 0
)]
sdf = sdf.apply(double)
sdf = sdf.to_topic("doubled")
app.run(timeout=1)
"""


class Editor:
    """The client's side of the debug adapter protocol."""

    def __init__(self, port: int) -> None:
        self._socket = _connect(port)
        self._socket.settimeout(TIMEOUT_S)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._waiting: list[dict[str, Any]] = []

    def send(self, command: str, **arguments: Any) -> int:
        """Send a request and return its number."""
        self._number += 1
        request = {
            "seq": self._number,
            "type": "request",
            "command": command,
            "arguments": arguments,
        }
        body = json.dumps(request).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self._number

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the body of the answer."""
        number = self.send(command, **arguments)
        answer = self._next(lambda said: said.get("request_seq") == number)
        assert answer["success"], answer
        return answer.get("body", {})

    def wait_for(self, event: str) -> dict[str, Any]:
        """Return the body of the next event of that name."""
        return self._next(lambda said: said.get("event") == event).get("body", {})

    def _next(self, is_wanted: Any) -> dict[str, Any]:
        for index, said in enumerate(self._waiting):
            if is_wanted(said):
                return self._waiting.pop(index)
        while True:
            said = self._read()
            if is_wanted(said):
                return said
            self._waiting.append(said)

    def _read(self) -> dict[str, Any]:
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the debugger has gone"
        return json.loads(self._file.read(length))

    def attach(self, file: Path, lines: list[int]) -> None:
        """Attach and set breakpoints."""
        self.ask("initialize", adapterID="test", pathFormat="path")
        attaching = self.send("attach", justMyCode=True)
        self.wait_for("initialized")
        breakpoints = [{"line": line} for line in lines]
        found = self.ask("setBreakpoints", source={"path": str(file)}, breakpoints=breakpoints)
        assert all(point["verified"] for point in found["breakpoints"]), found
        self.ask("configurationDone")
        self._next(lambda said: said.get("request_seq") == attaching)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        # Leaving lets the debugger's own process end.
        self._file.close()
        self._socket.close()

    def evaluate(self, thread: int, expression: str) -> str:
        """Evaluate an expression in the frame that has stopped."""
        frames = self.ask("stackTrace", threadId=thread)["stackFrames"]
        answer = self.ask("evaluate", expression=expression, frameId=frames[0]["id"])
        return str(answer["result"])

    def stopped_line(self, thread: int) -> int:
        """Return the line at which a thread has stopped."""
        return int(self.ask("stackTrace", threadId=thread)["stackFrames"][0]["line"])


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1)
        except OSError:
            if deadline < time.monotonic():
                raise
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def drive(editor: Editor, script: Path, in_lambda: int, in_function: int) -> list[tuple[int, str]]:
    """Stop five times, look at the row, go on; return the lines and what was seen there."""
    editor.attach(script, [in_lambda, in_function])
    seen = []
    for _ in range(5):
        thread = editor.wait_for("stopped")["threadId"]
        line = editor.stopped_line(thread)
        shown = "number" if line == in_lambda else "dict(row), doubled"
        seen.append((line, editor.evaluate(thread, shown)))
        editor.ask("continue", threadId=thread)
    editor.wait_for("terminated")
    return seen


@pytest.mark.slow
def test_a_breakpoint_stops_in_a_lambda_and_in_a_function(tmp_path: Path) -> None:
    (tmp_path / "producer.py").write_text(PRODUCER)
    script = tmp_path / "pipeline.py"
    script.write_text(PIPELINE)
    subprocess.run([sys.executable, "producer.py"], cwd=tmp_path, check=True, timeout=TIMEOUT_S)
    lines = PIPELINE.splitlines()
    in_lambda = lines.index("        number > 0") + 1
    in_function = lines.index('    return {"doubled": doubled}') + 1

    port = _free_port()
    listen = ["-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client", str(script)]
    command = [sys.executable, "-X", "frozen_modules=off", *listen]
    output = tmp_path / "output.txt"
    with (
        output.open("wb") as said,
        subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said) as process,
    ):
        try:
            with Editor(port) as editor:
                seen = drive(editor, script, in_lambda, in_function)
            assert process.wait(TIMEOUT_S) == 0, output.read_text()
        finally:
            process.kill()
    assert sorted(shown for line, shown in seen if line == in_lambda) == ["0", "1", "2"]
    assert [shown for line, shown in seen if line == in_function] == [
        "({'number': 1, 'unit': 'km'}, 2)",
        "({'number': 2, 'unit': 'km'}, 4)",
    ]
