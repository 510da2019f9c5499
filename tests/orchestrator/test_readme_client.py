"""The client that the README prints."""

import asyncio
import re
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


async def test_the_python_client_works_as_printed(homepage):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert "127.0.0.1:50051" in code
    program = code.replace("127.0.0.1:50051", homepage.host.address).replace("timeout=0.5", "timeout=20")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    assert output.decode().startswith("Good to start with\n   1 ")
    clicks = [entry.event.item_id for entry in homepage.profile.recorded.values() if entry.HasField("event")]
    shown_first = re.search(r"Title (\d+)", output.decode())
    assert clicks == [f"i{shown_first.group(1)}"]
