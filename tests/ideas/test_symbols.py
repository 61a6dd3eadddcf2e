"""Times in symbols of their own: written at a fixed width, and read back only where they are written so."""

import pytest

from d2vlm_lab.ideas.symbols import LATEST, SYMBOLS, read, show, spell


@pytest.mark.parametrize("interval, written", [((12, 20.5), "0012.0,0020.5;"), ((0.0, 0.04), "0000.0,0000.0;"),
                                               ((3.25, LATEST), "0003.2,9999.9;")])
def test_an_interval_has_fourteen_symbols_and_is_read_to_a_tenth_of_a_second(interval, written):
    symbols = spell(interval)
    assert show(symbols) == written and len(symbols) == 14 and len(SYMBOLS) == 13
    assert read(symbols) == pytest.approx(interval, abs=0.051)


@pytest.mark.parametrize("written", ["", ";", "0012.0,0020.5", "12.0,20.5;", "0012.0;", "00.120,0020.5;",
                                     "0012.0,0020.5,0030.0;", "0012.0,0020.5;;"])
def test_what_is_not_written_so_has_no_interval(written):
    assert read([SYMBOLS.index(symbol) for symbol in written]) is None


def test_exchanged_ends_are_put_in_order():
    assert read(spell((9.0, 4.0))) == (4.0, 9.0)


@pytest.mark.parametrize("interval", [(-1.0, 2.0), (3.0, LATEST + 0.1), (float("nan"), 2.0)])
def test_a_time_that_does_not_fit_is_an_error_that_names_it(interval):
    with pytest.raises(ValueError, match="reach from 0 to 9999.9 seconds"):
        spell(interval)
