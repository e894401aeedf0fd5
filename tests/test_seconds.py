"""Expected seconds: never under the roofline, right where not fitted, refused where rows do not hold."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from findings.__main__ import main
from lib.stored import stored
from tests import compiled
from ttvideo.basics.errors import Refused
from ttvideo.probing.verdict import Verdict
from ttvideo.programs.conv3d_blocks import Blocks, Size
from ttvideo.programs.cost import FREE, cost, in_turn
from ttvideo.programs.program import read
from ttvideo.programs.seconds import expected, expected_program, expected_work
from ttvideo.programs.seconds.fit import FEWEST, fit, fitting, ratios
from ttvideo.programs.seconds.model import coefficients, from_dict, microseconds
from ttvideo.programs.seconds.rows import COLUMNS, MEASURED, read_rows
from ttvideo.programs.seconds.work import Moved, Product, bytes_work, conv3d_work, machine, matmul_work
from ttvideo.targets.boards import BLACKHOLE, BOARDS


@pytest.fixture(scope="module")
def rows():
    return read_rows()


@pytest.mark.parametrize("name", ["conv3d", "conv2d", "linear", "resnet", "decoder"])
def test_no_op_of_a_compiled_program_is_expected_under_its_roofline(name):
    program, board = read(compiled.text(name)), BOARDS["p150"]
    found = expected_program(program)
    assert sum(found.by_cause.values()) == pytest.approx(found.kernel_seconds)
    assert found.low < found.seconds < found.high
    times = [expected(op, board.chip) for op in program.main.ops if op.name not in FREE]
    assert all(one.floor_us <= one.us for one in times)
    # The products' padded tiles and each op's bytes are at the roofline's own rates.
    assert found.floor == pytest.approx(in_turn(cost(program), board), rel=1e-6)
    assert found.kernel_seconds == pytest.approx(sum(one.us for one in times) / 1e6)
    assert found.launches == cost(program).launches


def test_a_verdict_says_how_long_its_program_would_take_and_nothing_where_there_is_none():
    passed = Verdict("p150-compile", {"TTNN": "pass"}, ttnn=compiled.text("conv3d"))
    said = "predicted for a card: {:.3g} µs (".format(passed.expected.seconds * 1e6)
    assert said in str(passed) and said in passed._repr_html_()
    unread = replace(passed, ttnn="module {")
    failed = replace(passed, kind="legalisation", message="no")
    assert not any("predicted" in str(one) for one in (unread, failed, replace(passed, ttnn=None)))


def test_less_fidelity_is_less_time_and_never_under_a_quarter():
    size = Size((6, 240, 424), 256, 256, (3, 3, 3), (0, 1, 1))
    given = size, Blocks(2, 3, 5, 256, 64), machine(BLACKHOLE)
    work = [expected_work(conv3d_work(*given, f)).us for f in ("lofi", "hifi2", "hifi3", "hifi4")]
    assert work == sorted(work) and work[0] > work[-1] / 4


def test_what_was_measured_on_the_other_chip_only_says_so():
    conv = next(op for op in read(compiled.text("conv3d")).main.ops if op.name == "ttnn.conv3d")
    here, there = (expected(conv, BOARDS[board].chip) for board in ("p150", "n150"))
    assert there.carried and not here.carried
    assert there.high_us / there.us > here.high_us / here.us
    product = matmul_work(Product(1024, 1024, 1024), machine(BOARDS["n150"].chip), "hifi4")
    assert not expected_work(product).fitted.carries(product)
    # SiLU's cycles were measured on a Wormhole only.
    silu = bytes_work("elementwise", Moved(4e6, 2000, hard=1000), machine(BLACKHOLE))
    assert expected_work(silu).fitted.carries(silu)


def test_the_stored_coefficients_are_those_of_the_rows(rows):
    """By what they foretell: coefficients of terms that matter little may differ from machine to machine."""
    fitted_to = {key: of for key, of in fitting(rows).items() if key[1] in coefficients()["kinds"][key[0]]}
    assert len(fitted_to) == sum(map(len, coefficients()["kinds"].values()))
    for (kind, arch), of in fitted_to.items():
        stored_ones, again = from_dict(coefficients()["kinds"], kind, arch), fit(of)
        assert np.median(np.abs(np.log(ratios(of, stored_ones) / ratios(of, again)))) < 0.01, kind


def held_out_error(rows, fault: str | None = None) -> float:
    order = np.random.default_rng(7).permutation(len(rows))
    train, test = ([rows[i] for i in order[side::2]] for side in (0, 1))
    by = fit(train)
    if fault:
        by = replace(by, coefficients=by.coefficients | {fault: 2 * by.coefficients[fault]})
    return float(np.median(np.abs(1 / ratios(test, by) - 1)))


def test_convolutions_that_were_not_fitted_are_foretold_and_a_wrong_coefficient_shows(rows):
    of = fitting(rows)["conv3d", "blackhole"]
    assert held_out_error(of) <= 0.08
    assert held_out_error(of, "products") > 0.16 and held_out_error(of, "rows") > 0.16


def test_the_stored_errors_are_within_what_is_claimed():
    """Those of products; notebook 08 has the convolutions'."""
    found = stored("seconds")
    by_kind = {(row["kind"], row["chip"]): row for row in found["errors"]}
    for chip in ("blackhole", "wormhole_b0"):
        assert by_kind["matmul", chip]["held_out"]["median_error"] <= 0.15
        assert found["large"][chip]["median_error"] <= 0.25
    wan = [one for one in found["whole"] if one["what"].startswith("Wan")]
    assert len(wan) == 2 and all(one["published"] < one["high"] for one in wan)


def written(path, **changes):
    """A file of one measured row of each kind of op, the first with changes."""
    with MEASURED.open(newline="") as file:
        all_rows = list(csv.DictReader(file))
    kept = {row["op"]: row for row in all_rows if row["state"] not in ("2026-03", "2026-04")}
    kept = [kept[op] for op in ("conv3d", "matmul", "sdpa", "concat", "start")]
    kept[0] |= {name: changes[name] for name in changes if name in COLUMNS}
    kept[1] |= changes.get("second", {})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
    return path


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"op": "conv4d"}, "line 2: op: got 'conv4d', need one of start, conv3d"),
        ({"us": "0"}, "line 2: us: got 0, need a time above 0"),
        ({"us": "nan"}, "line 2: us: got nan, need a time above 0"),
        ({"us": "0.5"}, "line 2: us: got 0.5, need at least the chip's"),  # milliseconds
        ({"out": "1x1x1x64"}, "line 2: out: got 1x1x1x64, need"),
        ({"blocks": "1x8x8x64x48"}, "line 2: blocks: got 1x8x8x64x48, need parts"),
        ({"blocks": "8x32x32x64x128"}, "line 2: blocks: .* need no more L1"),
        ({"chip": "p150"}, "line 2: chip: got 'p150', need one of blackhole"),
        ({"second": {"in1": "7x7"}}, "line 3: out: .* need .*xN"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(tmp_path, changes, says):
    with pytest.raises(Refused, match=says):
        read_rows(written(tmp_path / "rows.csv", **changes))


def test_every_bad_row_is_named_at_once(tmp_path, capsys):
    path = written(tmp_path / "rows.csv", op="conv4d", second={"us": "-1"})
    assert main(["card_seconds", str(path)]) == 2
    told = capsys.readouterr()
    assert "line 2: op" in told.err and "line 3: us" in told.err and not told.out


def test_rows_of_ones_own_are_compared(tmp_path, capsys):
    path = written(tmp_path / "rows.csv")
    assert main(["card_seconds", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["op"] for row in found] == ["conv3d", "matmul", "sdpa", "concat", "start"]
    conv = next(r for r in read_rows(path) if r.op == "conv3d")
    by = from_dict(coefficients()["kinds"], "conv3d", "blackhole")
    assert found[0]["expected_us"] == pytest.approx(microseconds(conv.work, by), abs=0.01)
    assert all(row["low_us"] <= row["expected_us"] <= row["high_us"] for row in found)


def test_kinds_of_few_rows_are_not_fitted_where_the_other_chip_has_many(rows):
    few = {key for key, of in fitting(rows).items() if len(of) < FEWEST}
    assert ("move", "wormhole_b0") in few and "wormhole_b0" not in coefficients()["kinds"]["move"]


def test_a_block_reads_the_right_hand_side_of_its_own_batch():
    on, each = machine(BLACKHOLE), 32 * 32 * 2
    batched = matmul_work(Product(32, 32, 32, batch=1000, block=(1, 1, 1), narrow=True), on, "hifi4")
    assert batched.terms["dram"] == pytest.approx(on.dram_us(1000 * 3 * each))
    three_rows = matmul_work(Product(96, 32, 32, batch=1000, block=(1, 1, 1), narrow=True), on, "hifi4")
    assert three_rows.terms["dram"] == pytest.approx(on.dram_us(1000 * (3 + 3 + 3) * each))
