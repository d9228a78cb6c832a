import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from executor.toml_lines import KeyPath, find_lines, nearest_line


def places(document: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every table, element and key of a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield (*path, key)
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            if isinstance(value, dict):
                yield (*path, index)
                yield from places(value, (*path, index))


TEXT = '''\
# a comment with [brackets] and = signs
title = "a # no comment" # one
quoted."dotted.key".bare = 1
1.5 = 2

[table]  # why
  long = """
one = 1
""\\"
[no.table]
"""""
literal = \'\'\'
it's [["one"]]\'\'\'
list = [
  "[", # ]
  { inner = "}" },
]
inline = { a = 1, b = { c = "=" } }
[[array]]
name = 'first'
[array.sub]
key = 1
[[array.deep]]
x = 1
[[array.deep]]
x = 2
[[array]]
name = "second"
  [[ array . "deep" ]]
  x = 3
[table.sub]
"\\u0061b" = true
'''


def test_every_form_of_key_is_found() -> None:
    """Comments, strings, arrays and inline tables are stepped over; headers, dotted and quoted keys are understood."""
    lines = find_lines(TEXT)
    assert lines == {
        ("title",): 2,
        ("quoted",): 3,
        ("quoted", "dotted.key"): 3,
        ("quoted", "dotted.key", "bare"): 3,
        ("1",): 4,
        ("1", "5"): 4,
        ("table",): 6,
        ("table", "long"): 7,
        ("table", "literal"): 12,
        ("table", "list"): 14,
        ("table", "inline"): 18,
        ("array",): 19,
        ("array", 0): 19,
        ("array", 0, "name"): 20,
        ("array", 0, "sub"): 21,
        ("array", 0, "sub", "key"): 22,
        ("array", 0, "deep"): 23,
        ("array", 0, "deep", 0): 23,
        ("array", 0, "deep", 0, "x"): 24,
        ("array", 0, "deep", 1): 25,
        ("array", 0, "deep", 1, "x"): 26,
        ("array", 1): 27,
        ("array", 1, "name"): 28,
        ("array", 1, "deep"): 29,
        ("array", 1, "deep", 0): 29,
        ("array", 1, "deep", 0, "x"): 30,
        ("table", "sub"): 31,
        ("table", "sub", "ab"): 32,
    }


def test_tomllib_sees_the_same_keys() -> None:
    """No place is found that tomllib does not see, and the rest of what it sees stands inside a value."""
    seen = set(places(tomllib.loads(TEXT)))
    found = set(find_lines(TEXT))
    assert found <= seen
    assert {path[:2] for path in seen - found} == {("table", "list"), ("table", "inline")}


def test_what_has_no_line_is_next_to_what_has_one() -> None:
    """Inside a value the value's line counts, for a missing key the table's, for a missing table the first."""
    lines = find_lines(TEXT)
    assert nearest_line(lines, ("table", "inline", "b", "c")) == 18
    assert nearest_line(lines, ("array", 1, "missing")) == 27
    assert nearest_line(lines, ("missing", "key")) == 1


names = st.sampled_from(["a", "b-c", '"d.e"', "'f # g'", '"\\"h"', "_1"])
SCALARS = ("1", "1.5e3", "true", "1979-05-27T07:32:00Z", '"# ["', "'\\'", '"\\\\"', '"\\"#"', '""', "''")
LONG = ('"""\n[x]\n"""', '""""two" quotes"""""', "'''\n'''''", "[\n1, # ]\n[2]]", "[]", "{}", '{ a = "}", b.c = [{}] }')
values = st.sampled_from(SCALARS + LONG)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """A document of tables of an array, and the line of every key in it."""
    text = ""
    expected: dict[KeyPath, int] = {}
    for table in range(draw(st.integers(1, 4))):
        text += draw(st.sampled_from(["", "\n", "# [c] = '\n", "  \r\n"]))
        expected[("t", table)] = text.count("\n") + 1
        text += draw(st.sampled_from(["[[t]]\n", "[[ t ]] # ]\n", '[["t"]]\r\n']))
        for name in draw(st.lists(names, unique=True)):
            (key,) = tomllib.loads(f"{name} = 1")
            expected[("t", table, key)] = text.count("\n") + 1
            text += f"{name} = {draw(values)}{draw(st.sampled_from(['', ' # x = 1', '  ']))}\n"
    return text, expected


@given(documents())
def test_lines_are_right_whatever_the_values_hold(document: tuple[str, dict[KeyPath, int]]) -> None:
    """Strings, comments and nesting never shift a key to another line."""
    text, expected = document
    tomllib.loads(text)
    lines = find_lines(text)
    assert lines.pop(("t",)) == expected[("t", 0)]
    assert lines == expected
