"""Records the requests that SGLang's front end makes, for `test_sglang.py`.

    python tests/server/sglang/record.py PYTHON_WITH_SGLANG

Starts a server and a proxy that notes each request before it passes it on, runs `front_end.py` with the given Python,
and writes `requests.json` and `said.json` beside this file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
NOTED: list[dict[str, Any]] = []


def make_handler(url: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            NOTED.append({"method": self.command, "path": self.path, "body": body})
            answer = httpx.request(self.command, url + self.path, json=body, timeout=60)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = _pass_on

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def main(python: str) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "ramify", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().split()[-1]
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(url))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        program = [python, str(HERE / "front_end.py"), address]
        said = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        server.terminate()
    (HERE / "requests.json").write_text("[\n" + ",\n".join(json.dumps(item) for item in NOTED) + "\n]\n")
    (HERE / "said.json").write_text(said)
    print(f"{len(NOTED)} requests")


if __name__ == "__main__":
    main(sys.argv[1])
