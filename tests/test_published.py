"""What real cards refused, a mocked board refuses with the same bytes."""

import dataclasses

import pytest

from ttvideo.targets.target import resolve
from ttvideo.ttnn.chip import Chip
from ttvideo.ttnn.places import why_not
from ttvideo.ttnn.published import PUBLISHED, bank_bytes, provoke, tensor


@pytest.fixture(scope="module")
def chips():
    """An open mocked device for each board, when it is first asked for."""
    opened = {}

    def chip(board: str) -> Chip:
        target = resolve(f"{board}-ttnn")
        if reason := why_not(target):
            pytest.skip(reason)
        if board not in opened:
            opened[board] = Chip(target)
        return opened[board]

    yield chip
    for chip in opened.values():
        chip.close()


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.issue.replace(" ", "_"))
def test_the_mock_refuses_what_the_card_refused(chips, case):
    card, here = case.card, provoke(chips(case.board), case)
    assert (here.memory, here.wanted_bytes, here.banks) == (card.memory, card.wanted_bytes, card.banks)
    assert here.wanted_a_bank == bank_bytes(tensor("", case.result, case.dtype, case.layout), case.board)
    assert card.wanted_a_bank in (None, here.wanted_a_bank)
    if card.allocated_a_bank and case.fits_the_card:
        assert here.allocated_a_bank == card.allocated_a_bank
        assert here.largest_free_a_bank - card.largest_free_a_bank == here.bank_bytes - card.bank_bytes


def test_what_fits_is_not_refused(chips):
    (case,) = [case for case in PUBLISHED if case.issue == "tt-metal#39222"]
    small = dataclasses.replace(case, result=(1, 1, 480, 848, 128))
    assert provoke(chips(case.board), small) is None
