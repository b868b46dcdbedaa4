from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

SERVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from served import AUTH, MODEL_ID, FakeModel, config
from strop.serve.app import build
from strop.serve.capture import Capture
from strop.serve.run import run

root = Path(sys.argv[2])
capture = Capture(lambda traces, skipped: (root / "landed").write_text(str(len(traces))))
app = build(config(root), {MODEL_ID: FakeModel()}, key="k", capture=capture)
run(app, host="127.0.0.1", port=0, announce=lambda url: print(url, flush=True))
print("ended", capture.report().calls, flush=True)
"""


def test_sigterm_ends_well_and_nothing_captured_is_lost(tmp_path: Path):
    command = [sys.executable, "-c", SERVER, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
            with httpx2.Client(trust_env=False) as client:
                request = {"model": "a" * 64, "messages": [{"role": "user", "content": "hi"}]}
                response = client.post(
                    f"{url}/chat/completions", json=request, headers={"authorization": "Bearer k"}
                )
                assert response.status_code == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
            assert server.stdout.read() == "ended 1\n"
        finally:
            server.kill()
    assert (tmp_path / "landed").read_text() == "1"
