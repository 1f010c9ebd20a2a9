from worker.text import MAX_LAST_WORDS, last_words, printable


def test_ordinary_text_stays():
    assert printable("Größe: 3 cm\n\tπ 日本", 100) == "Größe: 3 cm\n\tπ 日本"


def test_what_could_disturb_a_reader_goes():
    hostile = "\x1b[31mred\x1b[0m \x07bell\x00 \u202eesrever\u2066 \ud800 \x9b2J end"
    assert printable(hostile, 100) == "red bell esrever  2J end"


def test_long_text_is_cut():
    assert printable("x" * 11, 10) == "x" * 9 + "…"


def test_last_words_are_the_last_lines_without_directories():
    log = (
        b"first\n" * 9
        + b'File "/root/.venv/lib/python3.11/site-packages/torch/nn.py", line 3\n\nValueError: 1/2\n'
    )
    assert last_words(log, lines=2) == 'File "nn.py", line 3\nValueError: 1/2'


def test_last_words_of_any_bytes_are_short_text():
    words = last_words(bytes(range(256)) * 64)
    assert len(words) <= MAX_LAST_WORDS
    assert words.isprintable() or "\n" in words
