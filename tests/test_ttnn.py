"""Compiled programs executed by TT-NN, in another process: what it is told, what comes back, its failures."""

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import psutil
import pytest
import torch
from compiled import expected, module_and_input, text
from needs import needs_ttnn, needs_ttsim
from torch import nn

from ttvideo import for_tiles, native, probe
from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.media.small_autoencoders import SMALL
from ttvideo.probing.counted import by_cost, counted
from ttvideo.probing.failures import classify
from ttvideo.probing.on_ttnn import failure
from ttvideo.probing.probe import open_session
from ttvideo.probing.verdict import MOCKED
from ttvideo.programs.cost import once
from ttvideo.programs.evaluate import evaluate
from ttvideo.programs.own import dram_counts
from ttvideo.programs.program import read
from ttvideo.targets.boards import BOARDS
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn import __main__ as make_sim
from ttvideo.ttnn import chip as chips
from ttvideo.ttnn import places, ttsim, workarounds
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.description import describe
from ttvideo.ttnn.handmade import conv3d, op, program, tensor

pytestmark = pytest.mark.long

TTSIM, MOCKED_BOARDS = ("n150-ttsim", "p150-ttsim"), ("n150-ttnn", "p150-ttnn")
ONE = torch.ones(32, 32).bfloat16()
PLAIN = {"activations": [], "input_tensor_a_activations": [], "input_tensor_b_activations": []}


def adding(times: int = 1):
    """x + x, and so on."""
    value = first = tensor("x", (32, 32))
    ops = []
    for number in range(times):
        ops.append(op("add", [value, value], tensor(f"%{number}", (32, 32)), **PLAIN))
        value = ops[-1].results[0]
    return program([first], ops)


@needs_ttsim
@pytest.mark.parametrize("target, name", [("n150-ttsim", "linear"), ("p150-ttsim", "conv3d")])
def test_a_module_runs_on_a_simulated_chip(target, name, clean_after):
    module, x = module_and_input(name)
    verdict = probe(module, (x,), target)
    assert verdict.passed and "bit-exact" in verdict.outputs_from
    assert compare(verdict.outputs, expected(module, x)).pcc > 0.99999


@needs_ttnn
@pytest.mark.parametrize("target", MOCKED_BOARDS)
def test_a_mocked_board_hands_on_no_output(target, clean_after):
    module, x = module_and_input("linear")
    verdict = probe(module, (x,), target)
    assert verdict.stages["run"] == MOCKED and verdict.outputs is None
    assert verdict.ran.peak_dram_bytes > verdict.program.arguments[-1].type.stored_bytes


def test_a_card_is_told_what_the_simulator_is_told_but_for_where_the_chip_is(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "runtime_root", lambda *_: tmp_path)
    monkeypatch.setattr(places, "packages", lambda: tmp_path)
    simulated = places.environment(TARGETS["p150-ttsim"], tmp_path)
    card = places.environment(TARGETS["ttnn"], tmp_path)
    # Kernels of a named work-around are kept apart.
    assert simulated.pop("TT_METAL_CACHE") != card.pop("TT_METAL_CACHE")
    assert card.items() <= simulated.items()
    assert {name for name in simulated if name not in card} == {
        "TT_METAL_SIMULATOR",
        "TT_METAL_SLOW_DISPATCH_MODE",
        "TT_METAL_DISABLE_SFPLOADMACRO",
        "TT_METAL_CORE_GRID_OVERRIDE_TODEPRECATE",
    }


def test_a_place_that_is_not_set_up_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "READY", tmp_path / "ready")
    with pytest.raises(Refused, match="make sim"):
        probe(torch.nn.Linear(32, 32), (torch.zeros(1, 32),), "p150-ttsim")


def test_what_each_chip_is_to_run_once_it_is_set_up_is_whole():
    for made, arguments in make_sim.kinds():
        assert all(result.isfinite().all() for result in evaluate(made, arguments))


def test_a_stop_of_the_simulator_is_not_the_ops_failure():
    said = "UnsupportedFunctionality: tensix_unpacr: cfg_context_id=1"
    told = classify(f"[219] ERROR: {said}\nTT_FATAL: beside it")
    assert (told.kind, told.message) == ("simulator stop", said)
    assert classify("TT_FATAL: ERROR: unknown").kind == "runtime check"


def test_a_compiled_program_becomes_plain_steps():
    described, constants = describe(read(text("linear")))
    main = described["functions"][described["main"]]
    known = {value for value, *_ in main["arguments"]}
    for step in main["steps"]:
        assert set(step["operands"]) <= known
        known |= {value for value, _ in step["results"]}
    assert set(main["returns"]) <= known and not constants
    assert [argument[2] for argument in main["arguments"]] == ["parameter", "parameter", "input"]


class Remembering(nn.Module):
    """Sums up what it is given, from three times the first on; hands on the first as it came, and `unread`,
    which it never reads."""

    def forward(self, x, state=None):
        names = "first", "unread", "total"
        first, unread, total = (state[name] for name in names) if state else (x * 1, x * 5, x * 2)
        return total + x + first, {"total": total + x, "first": first, "unread": unread}


@pytest.mark.parametrize("target", ["xla-cpu", pytest.param("p150-ttsim", marks=needs_ttsim)])
def test_the_state_stays_on_the_chip_and_what_it_hands_on_is_no_result(target, clean_after):
    with open_session(Remembering(), TARGETS[target], stateful=True) as session:
        verdicts = [session.call((number * ONE,)) for number in (1, 2, 3)]
        assert [verdict.outputs.unique().tolist() for verdict in verdicts] == [[4.0], [6.0], [9.0]]
        assert verdicts[-1].results == (0, {"total": 1, "first": None, "unread": None})
        state = session.state()
        found = {name: value.unique().tolist() for name, value in state.items()}
        assert found == {"total": [8.0], "first": [1.0], "unread": [5.0]}
    with open_session(Remembering(), TARGETS[target], stateful=True) as resumed:
        assert resumed.call((ONE,), state=state).outputs.unique().tolist() == [10.0]
        assert resumed.state()["first"].unique().tolist() == [1.0]


@needs_ttnn
def test_the_state_of_a_mocked_board_is_refused(clean_after):
    with open_session(Remembering(), TARGETS["p150-ttnn"], stateful=True) as session:
        assert session.call((ONE,)).outputs is None
        with pytest.raises(Refused, match="kernels don't run"):
            session.state()


@needs_ttnn
def test_an_op_that_is_refused_is_named_and_the_device_stays(clean_after):
    wrong = program([x := tensor("x", (32, 32))], [op("frobnicate", [x], tensor("y", (32, 32)))])
    with Chip(TARGETS["p150-ttnn"]) as chip:
        with pytest.raises(Broke) as broke:
            chip.run(wrong, {"x": ONE})
        assert broke.value.op == "ttnn.frobnicate" and "no rule" in failure(broke.value, None).message
        assert chip.run(adding(), {"x": ONE}, fetch=()).ops == 1


@needs_ttnn
def test_a_report_has_the_programs_ops_and_the_allocators_buffers(tmp_path, clean_after):
    module, x = module_and_input("tap_sum")
    verdict = probe(module, (x,), "n150-ttnn", report=True)
    folder = verdict.save(tmp_path)
    with sqlite3.connect(folder / "ttnn-report" / "db.sqlite") as database:
        ask = lambda query: database.execute(query).fetchall()
        ops = ask("SELECT name, stack_trace FROM operations JOIN stack_traces USING (operation_id)")
        banks = ask("SELECT SUM(max_size_per_bank) FROM buffers GROUP BY operation_id")
    assert len(ops) == verdict.ran.ops and {name for name, _ in ops} <= set(verdict.op_counts)
    assert any("Conv2d[taps.1]" in location for _, location in ops)
    assert max(banks)[0] * BOARDS["n150"].chip.dram_channels == verdict.ran.peak_dram_bytes
    assert (folder / "ttnn-report" / "config.json").exists()
    assert "ttnn-visualizer --profiler-path ttnn-report" in (folder / "README.md").read_text()


@needs_ttnn
def test_too_large_a_tensor_is_the_allocators_failure_and_ends_the_report(tmp_path, clean_after):
    x, many = tensor("x", (32, 32)), tensor("y", (32 << 12, 32 << 12))
    wide = program([x], [op("repeat", [x], many, repeat_dims=f"{1 << 12}x{1 << 12}")])
    with Chip(TARGETS["n150-ttnn"]) as chip:
        with pytest.raises(Broke) as broke:
            chip.run(wide, {"x": ONE}, fetch=(), report=True)
        assert failure(broke.value, None).kind == "DRAM out of memory"
        (tmp_path / "db.sqlite").write_bytes(chip.report()["db.sqlite"])
    with sqlite3.connect(tmp_path / "db.sqlite") as database:
        assert database.execute("SELECT operation_name FROM errors").fetchall() == [("ttnn.repeat",)]


def test_a_report_is_refused_where_ttnn_runs_nothing():
    with pytest.raises(Refused, match="n150-ttnn"):
        probe(torch.nn.Linear(32, 32), (torch.zeros(1, 32),), "n150-compile", report=True)


@needs_ttnn
def test_a_time_out_ends_everything(clean_after):
    with Chip(TARGETS["p150-ttnn"]) as chip, pytest.raises(Broke) as broke:
        chip.run(adding(), {"x": ONE}, timeout=0.01)  # the device alone takes longer to open
    assert broke.value.timed_out and failure(broke.value, 0.01).kind == "time-out"
    assert not chips.locks(chip.child.process.pid)


@needs_ttsim
def test_a_process_that_dies_is_told_and_leaves_nothing(clean_after):
    with Chip(TARGETS["p150-ttsim"]) as chip:
        chip.run(adding(), {"x": ONE})
        assert chips.locks(chip.child.process.pid)
        killer = threading.Timer(1, psutil.Process(chip.child.process.pid).kill)
        killer.start()
        with pytest.raises(Broke) as broke:
            for _ in range(10_000):
                chip.run(adding(5), {"x": ONE})
        killer.join()
    assert "SIGKILL" in failure(broke.value, None).message
    assert not chips.locks(chip.child.process.pid)


@needs_ttsim
def test_the_memory_of_a_simulated_chip_is_bounded_and_told(monkeypatch, clean_after):
    with Chip(TARGETS["p150-ttsim"]) as chip:
        assert chip.run(adding(), {"x": ONE}).memory_bytes > 100_000_000
        monkeypatch.setattr(chips, "bound_bytes", lambda: 1_000_000)
        with pytest.raises(Broke) as broke:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                chip.run(adding(400), {"x": ONE})
    assert failure(broke.value, None).kind == "memory"


@needs_ttsim
def test_two_at_one_time_do_not_disturb_each_other(clean_after):
    found = [None, None]

    def run(i):
        with Chip(TARGETS[TTSIM[i]]) as chip:
            found[i] = chip.run(adding(3), {"x": ONE}).outputs[0]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(torch.equal(one, 8 * ONE) for one in found)


def test_one_line_is_taken_out_of_a_kernel_and_no_other():
    assert workarounds.dropped("  b", "a\n  b c\nd\n") == "a\nd\n"
    for other in ("a\n", "  b\n  b\n"):
        with pytest.raises(Refused, match="exactly one"):
            workarounds.dropped("  b", other)


@needs_ttsim
@pytest.mark.parametrize("target", TTSIM)
def test_kernels_that_count_ask_of_dram_what_the_cost_says(target):
    made, values = conv3d(nn.Conv3d(64, 64, 3, padding=(0, 1, 1)), torch.zeros(1, 3, 32, 32, 64), (1, 8, 8))
    y = made.main.returns[0]
    made = program(
        list(made.arguments),
        [*made.main.ops, op("add", [y, y], tensor("z", y.type.shape, layout="row_major"), **PLAIN)],
    )
    counted, ops = dram_counts.write(made)
    with Chip(TARGETS[target], counting=True) as chip:
        found = dram_counts.moved(chip.run(counted, values).outputs)
    assert found == [by_cost(one, TARGETS[target].board.chip) for one in ops]
    assert sum(found[0]) > 2 * once(ops[0])  # more than each operand and result once
    with Chip(TARGETS[target]) as chip, pytest.raises(Refused, match="kernels that run, and count"):
        dram_counts.moved(chip.run(counted, values).outputs)


@needs_ttsim
def test_a_modules_ops_are_counted_each(clean_after):
    module, x = module_and_input("linear")
    found = counted(module, (x,), "n150-ttsim")
    assert {"ttnn.matmul", "ttnn.add"} <= {one.op for one in found} and all(one.location for one in found)
    assert all((one.read, one.written) == (one.cost_read, one.cost_written) for one in found)


@needs_ttsim
def test_a_step_that_goes_on_is_counted(clean_after):
    decoder = for_tiles(SMALL["Wan 2.1"].make().bfloat16().requires_grad_(False))
    z = torch.zeros(1, decoder.latent_channels, 1, 4, 4, dtype=torch.bfloat16)
    shapes = decoder.state_shapes(1, 4, 4)
    state = {entry: torch.zeros(shape, dtype=torch.bfloat16) for entry, shape in shapes.items()}
    begins, goes_on = counted(decoder, z, "n150-ttsim"), counted(decoder, z, "n150-ttsim", state=state)
    assert sum(one.read for one in goes_on) > 1.5 * sum(one.read for one in begins)
    with pytest.raises(Refused, match="keyword 'endz'"):
        counted(decoder, z, "n150-ttsim", endz=True)


@needs_ttsim
def test_a_native_decoders_ops_ask_for_what_their_cost_says(clean_after):
    decoder = native(SMALL["Wan 2.1"].make())
    found = counted(decoder, torch.zeros(1, decoder.latent_channels, 2, 4, 4), "p150-ttsim")
    made_on_host = [one for one in found if one.op == "ttnn.zeros"]
    for one in found:
        assert one.read == one.cost_read and (one in made_on_host or one.written == one.cost_written), one
    assert sum(one.read for one in found) > 1e6 and len(made_on_host) < 3 < len({one.op for one in found})


@pytest.mark.parametrize("target", ["p150-mock", "p150-ttnn", "p150-compile", "cpu"])
def test_nothing_is_counted_where_kernels_do_not_run(target):
    with pytest.raises(Refused, match="one where TT-NN's kernels run: n150-ttsim, p150-ttsim, ttnn"):
        counted(nn.Linear(32, 32), (torch.zeros(1, 32),), target)


def test_without_a_card_nothing_is_counted_on_one(monkeypatch):
    monkeypatch.setattr("ttvideo.targets.target.card_present", lambda: False)
    with pytest.raises(Refused, match="no card under"):
        counted(nn.Linear(32, 32), (torch.zeros(1, 32),), "ttnn")


def test_only_the_function_that_sends_is_changed_to_count():
    text = f"a\n{dram_counts.SEND}…\n{dram_counts.BODY}b"
    counting = dram_counts.counting(text)
    assert counting.startswith("a\n") and counting.endswith(
        f"COUNT_REQUEST(noc, buf, addr, val);\n{dram_counts.BODY}b"
    )
    with pytest.raises(Refused, match="sends otherwise"):
        dram_counts.counting("a\n")


def said(target: str, script: str, tmp_path: Path) -> str:
    """What a script prints in TT-NN's environment for a target."""
    (folder := tmp_path / target).mkdir()
    variables = places.environment(TARGETS[target], folder)
    asked = [places.python(), Path(__file__).parent / "data" / script]
    return subprocess.run(asked, env=variables, cwd=folder, capture_output=True, text=True).stdout


@needs_ttsim
@pytest.mark.parametrize("target", TTSIM)
def test_a_simulated_chip_has_the_boards_grid_and_its_memory(target, tmp_path):
    """Which a mocked board of TT-NN's has, too."""
    names = target, target.replace("ttsim", "ttnn")
    found, mocked = (re.findall(r"^(?:grid|DRAM|L1) .*$", said(n, "grid.py", tmp_path), re.M) for n in names)
    rows, columns = TARGETS[target].board.chip.grid_yx
    assert found[0] == f"grid {columns} x {rows}" and len(found) == 3 and found == mocked


@needs_ttsim
def test_a_comparison_by_the_sign_bit_gives_the_bits_of_one_with_zero(tmp_path):
    """The p150's work-around, beside what it replaces: with +0.0 in a register that ttsim compares."""
    told = said("p150-ttsim", "comparisons.py", tmp_path)
    found = json.loads(re.search(r"^FOUND (.*)$", told, re.M)[1])
    assert len(found) == 16
    for bits, forms in found.items():
        negative = int(bits, 16) >> 31
        # "0 > x" in both forms, "0 <= x" in both forms
        assert forms == [negative, negative, 1 - negative, 1 - negative], bits


def test_only_comparisons_with_the_constant_zero_are_written_otherwise(tmp_path):
    source, front = tmp_path / "kernel.s", tmp_path / "as"
    for script, text_of_it in ((front, workarounds.IN_FRONT), (tmp_path / "as-unchanged", "#!/bin/sh\n")):
        script.write_text(text_of_it)
        script.chmod(0o755)
    others = "\tSFPGT\tL1, L2, 0, 1\n\tSFPGT\tL9, L2, 0, 8\n\tSFPLE\tL10, L2, 0, 1\n"
    source.write_text("\tSFPGT\tL9, L2, 0, 1\n\tsfple\tL9, L12, 0, 1\n" + others)
    subprocess.run([front, "-o", "x.o", source], check=True)
    assert source.read_text() == "\tsfpsetcc L2, 0, 0\n\tsfpsetcc L12, 0, 4\n" + others


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setattr(ttsim, "KEPT", tmp_path / "kept")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def library(path: Path, pci: int, chips: int = 1) -> Path:
    """What presents itself as ttsim does, built for the test: a PCI device a chip, and nothing behind it."""
    code = f"""
        void libttsim_init(void) {{}}
        unsigned libttsim_pci_config_rd32(unsigned device, unsigned offset) {{
            return (device >> 3) < {chips} ? {pci:#x}u : 0xffffffffu;
        }}"""
    return compiled(path, code)


def compiled(path: Path, code: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=code, text=True, check=True)
    return path


def test_ttsim_is_taken_from_a_file_or_a_folder_by_what_it_says_it_is(kept):
    blackhole = library(kept / "given" / "any-name.so", 0xB1401E52)
    (kept / "given" / "README.md").write_text("# ttsim v1.10.0, built from source\n")
    assert ttsim.keep(str(kept / "given")).startswith("ttsim v1.10.0, as TTSIM says")
    assert ttsim.kept_library("blackhole").read_bytes() == blackhole.read_bytes()
    assert not ttsim.kept_library("wormhole_b0").exists()
    said = ttsim.keep(str(library(kept / "libttsim.so", 0x401E1E52)))
    assert "unstated version" in said and f"made with ttsim {ttsim.VERSION}" in said
    assert ttsim.kept_library("wormhole_b0").exists()


def test_ttsim_is_looked_for_in_the_users_data_folder_then_in_the_cache(kept):
    library(kept / "data" / "ttsim" / "libttsim_bh.so", 0xB1401E52)
    (kept / "data" / "ttsim" / "version").write_text("v9.0\n")
    assert "ttsim v9.0, from the user's data folder" in ttsim.keep(None) and ttsim.kept_version() == "v9.0"
    shutil.rmtree(kept / "data")
    assert ttsim.keep(None, "http://127.0.0.1:9") == "ttsim v9.0, as kept"


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda given: None, "No such file"),
        (lambda given: given.mkdir(), "no library in"),
        (lambda given: given.write_bytes(b"bh"), "which isn't one"),
        (lambda given: compiled(given, ""), "which isn't one"),
        (lambda given: library(given, 0xFEED1E52), "0xfeed1e52"),
        (lambda given: library(given, 0xB1401E52, chips=2), "and more chips"),
        (lambda given: two_of_one_chip(given), "two libraries of a blackhole"),
    ],
)
def test_what_is_no_ttsim_is_one_sentence(kept, make, says):
    given = kept / "given"
    make(given)
    with pytest.raises(Refused, match=says) as refused:
        ttsim.keep(str(given))
    assert len(str(refused.value).splitlines()) == 1


def two_of_one_chip(folder: Path) -> None:
    made = library(folder / "a.so", 0xB1401E52)
    (folder / "b.so").write_bytes(made.read_bytes() + b"other")


def test_a_data_folder_that_cannot_be_read_and_no_network_are_one_sentence(kept, monkeypatch):
    def denied(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    with pytest.raises(Refused, match="TTSIM=<file or folder>"):
        ttsim.keep(None, "http://127.0.0.1:9")
    (kept / "data" / "ttsim").mkdir(parents=True)
    monkeypatch.setattr(Path, "iterdir", denied)  # root may read everything
    with pytest.raises(Refused, match="Permission denied, need a data folder"):
        ttsim.keep(None)


@pytest.fixture
def releases(kept):
    """A server of releases at this machine."""
    folder = kept / "releases" / ttsim.VERSION
    folder.mkdir(parents=True)
    for name in ttsim.CHECKSUMS:
        (folder / name).write_bytes(name.encode())
    server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=kept / "releases"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_ttsim_is_fetched_and_its_checksum_held(releases, kept, monkeypatch):
    assert "NOT verified" in ttsim.keep(None, releases)
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in ttsim.CHECKSUMS}
    monkeypatch.setattr(ttsim, "CHECKSUMS", sums)
    shutil.rmtree(ttsim.KEPT)
    assert "NOT verified" not in ttsim.keep(None, releases) and ttsim.kept_version() == ttsim.VERSION
    monkeypatch.setattr(ttsim, "CHECKSUMS", sums | {"libttsim_wh.so": "0" * 64})
    shutil.rmtree(ttsim.KEPT)
    with pytest.raises(Refused, match="0000"):
        ttsim.keep(None, releases)
