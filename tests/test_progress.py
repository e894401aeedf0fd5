"""Progress shows where a person looks, and stays out of what is stored and compared."""

import pytest
from jupyter_client.manager import start_new_kernel

CODE = """
from ttvideo.basics.progress import progress
with progress("a long step") as show:
    show("half way")
"""


@pytest.mark.parametrize("person", [True, False])
def test_a_cell_shows_progress_to_a_person_only(person):
    manager, client = start_new_kernel(kernel_name="python3")
    said = []
    try:
        client.execute_interactive(
            CODE, allow_stdin=person, output_hook=lambda message: said.append(message), timeout=60
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    shown = [m["content"]["data"]["text/plain"] for m in said if "data" in m["content"]]
    assert not [m for m in said if m["msg_type"] in ("error", "stream")]
    assert (
        (any("a long step · half way" in text for text in shown) and shown[-1] == "") if person else not shown
    )
