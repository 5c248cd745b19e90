"""Messages reach a terminal without control characters, and only from the first process."""

import logging

import pytest
import torch.distributed

from sori.core import log

SCRIPTS = "نمی\u200cشود ශ්\u200dරී 한국어 a\u00a0b\u3000c"  # joiners, and spaces that `isprintable` refuses


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jname\x07", "\\x1b[2Jname\\x07"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("half \ud83d", "half \\ud83d"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        (SCRIPTS, SCRIPTS),
    ],
)
def test_control_characters_are_escaped_and_scripts_kept(text, shown):
    assert log.printable(text) == shown


def test_the_first_process_writes_on_standard_error_and_others_do_not(capsys, monkeypatch):
    log.logger.info("from %s", "\x1b[1mone")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    log.logger.info("from another")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "from \\x1b[1mone\n")


def test_showing_twice_does_not_show_messages_twice(capsys):
    log.show(level=logging.WARNING)
    log.logger.info("too detailed")
    log.show()
    log.logger.info("once")
    assert capsys.readouterr().err == "once\n"
