"""The Rego that tests generate, as a table: one Form for each way of reading the input.

A form is a condition and the rules that it needs beside it. `<name>` is a hole; the same hole twice in a form
is filled alike, and a digit tells two of a kind apart. What fills a hole:

    <scalar> <many> <object> <ancestor> <key>   something to read, from the tables below
    <word> <member> <lib>                       a string, a member's name, a library's name
    <body>                                      conditions, one level deeper
    <x> <y> <k> <v>                             a variable, new each time
    <r>                                         a rule's name, new each time
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

WORDS: Final = ("a", "b", "read", "1")
LIBRARIES: Final = ("a", "b", "read")
HEADERS: Final = "input.attributes.request.http.headers"
# Written at the top of every package that mentions one of them.
IMPORTS: Final = {
    "the_path": "input.parsed_path",
    "the_agent": "input.agent",
    "the_args": "input.action.arguments",
    "everything": "input",
    "the_map": "data.lists.map",
}
SCALARS: Final = (
    "input.agent.id",
    "input.agent.claims.role",
    "input.agent.assurance",
    "input.action.tool",
    "input.action.arguments.word",
    "input.destination.host",
    "input.action.arguments.items[0].word",
    'input.action.arguments["a.b"]',
    "input.action.arguments.a.b",
    "input.parsed_query.q[0]",
    "input.parsed_body.word",
    "input.parsed_path[1]",
    "input.session.id",
    "input.session.identified",
    "input.context.model",
    "input.now.hour",
    "input.nowhere.at.all",
    f'{HEADERS}["x-a"]',
    f'{HEADERS}["x-request-id"]',
    f"{HEADERS}.authorization",
    "the_path[0]",
    "the_agent.id",
    "the_args.word",
    "everything.destination.host",
)
COLLECTIONS: Final = (
    "input.agent.chain",
    "input.agent.claims",
    "input.action.arguments.list",
    "input.action.arguments",
    "input.parsed_path",
    "input.parsed_query",
    "input.parsed_body",
    HEADERS,
    "input.session.labels",
    "input.context.claimed",
    "data.lists.some",
    "the_path",
    "the_args",
)
OBJECTS: Final = (
    "input.agent",
    "input.action",
    "input.destination",
    "input.agent.claims",
    "input.action.arguments",
    "input.parsed_query",
    "the_agent",
    "the_args",
)
# What may be there, may be something else, or may be missing: an alias of it is defined or not.
ANCESTORS: Final = (
    *OBJECTS,
    "input.agent.claims.role",
    "input.agent.claims.claims",
    "input.action.arguments.id",
    "input.action.arguments.list",
    "input.parsed_body",
    "input.parsed_query.q",
    "input.session",
    "input.context",
    "input.nowhere",
    "input.attributes.request.http",
    "input.attributes.source",
    HEADERS,
    f'{HEADERS}["x-a"]',
    "input",
)
MEMBERS: Final = ("id", "tool", "role", "host", "word", "claims", "nothing")
# A name by which something is looked up: from the input, from data, or from a small set.
KEYS: Final = (
    "input.agent.id",
    "input.action.tool",
    "input.agent.claims.role",
    "data.lists.key",
    "data.lists.path[1]",
    "the_map.a.key",
)


class Form(Struct, frozen=True):
    """A condition with holes, and the rules beside it."""

    condition: str
    rules: tuple[str, ...] = ()

    @property
    def deep(self) -> bool:
        """Whether it has conditions inside."""
        return "<body>" in self.condition or any("<body>" in rule for rule in self.rules)


PLAIN: Final = (
    Form("<scalar>"),
    Form("<scalar> == <word>"),
    Form("<scalar> != <word>"),
    Form("<scalar> == <scalar2>"),
    Form("not <scalar>"),
    Form("not <scalar> == <word>"),
    Form("not <scalar> != <word>"),
    Form("to_number(<scalar>) == 1"),
    Form('sprintf("%v", [<ancestor>]) != <word>'),
    Form("<scalar> in {<word>, <scalar2>}"),
    Form('$"{<scalar>}-{<scalar2>}" != $"{<scalar>}-a"'),
    Form("is_string(<ancestor>)"),
    Form("not is_null(<ancestor>)"),
    Form("<scalar> < <scalar2>"),
    Form("json.marshal(<object>) != <word>"),
)
LOOPS: Final = (
    Form("<word> in <many>"),
    Form("not <word> in <many>"),
    Form("<scalar> == <many>[_]"),
    Form("not <many>[<scalar>]"),
    Form("count(<many>) > 1"),
    Form("every <x> in <many> { <x> != <scalar> }"),
    Form("every <k>, <x> in <many> { [<k>, <x>] != [<word>, <scalar>] }"),
    Form("some <x> in <many>\n<x> == <scalar>"),
    Form("some <k>, <v> in <many>\n<k> != <v>\nnot <v> == <scalar>"),
    Form("count([<x> | some <x> in <many>; <x> != <word>]) < 2"),
    Form("count({<x> | some <x>, _ in <many>; not <x> == <word>}) > 0"),
    Form("{<k>: <v> | some <k>, <v> in <many>; <v> != <scalar>} != {}"),
    Form("count([1 | some <x> in <many>; some <y> in <many2>; <x> == <y>]) > 0"),
    Form("every <x> in <many> { some <y> in <many2>; <x> != <y> }"),
    Form("every <x> in <many> { not <object>[<x>] }"),
    Form("<x> := [<y> | walk(<object>, [_, <y>]); is_string(<y>)]\n<word> in <x>"),
)
INDIRECT: Final = (
    Form('<x> := <object>\n<x>["<member>"] == <word>'),
    Form('object.get(<object>, "<member>", "none") == <word>'),
    Form('not object.get(<object>, ["<member>", "x"], false)'),
    Form("<object>[<key>]"),
    Form("not <object>[<key>].<member>"),
    Form("not input[<key>].<member>"),
    Form("input[<key>][<key2>] != <word>"),
    Form("<x> := <key>\nnot input.agent[<x>]"),
    Form("object.get(input, data.lists.path, <word>) == <word2>"),
    Form("some <k> in data.lists.names\ninput[<k>].<member> == <scalar>"),
    Form("walk(<object>, [_, <x>])\n<x> == <word>"),
    Form("walk(input, [<x>, <word>])\ncount(<x>) > 2"),
    Form('not count([1 | walk(<object>, [["<member>"], _])]) > 0'),
    Form('{"<member>": <x>} = <object>\n<x> != <word>'),
    Form("[_, <x>] = input.parsed_path\n<x> == <word>"),
    Form("[<x>, <y>] = [<scalar>, <many>]\n<x> in <y>"),
    Form("<x> := input\nnot <x>.agent.claims.<member>"),
    Form("<x> := <ancestor>\nnot <x>.<member>"),
    Form("<x> := <ancestor>\nnot <x>.<member>.<member2>"),
    Form("<x> := <ancestor>\n<x>.<member>"),
    Form('<x> := {"one": <ancestor>, "two": [<scalar>]}\nnot <x>.one.<member>'),
    Form("<x> := [<ancestor>, <ancestor2>]\n<x>[0] == <x>[1]"),
    Form('json.filter(<object>, ["<member>"]) == {}'),
    Form("object.subset(<object>, {<word>: <scalar>})"),
    Form("object.union(<object>, <object2>).<member> == <word>"),
)
DATA: Final = (
    Form("<scalar> in data.lists.some"),
    Form("data.lists.map[<scalar>]"),
    Form("not data.lists.map[<scalar>].b"),
    Form("data.lists[<scalar>][_] == <scalar2>"),
    Form("the_map[<key>].b == 1"),
)
# Between packages: a library does not use them, so that none calls itself.
ACROSS: Final = (
    Form("data.lib.<lib>.holds"),
    Form("not data.lib.<lib>.holds"),
    Form("not data.lib[<scalar>].holds"),
    Form("data.lib[<scalar>].members[<word>]"),
    Form("data.lib.<lib>.has(<object>, <key>)"),
    Form("not data.lib.<lib>.has(<ancestor>, <word>)"),
    Form("data.lib[<key>].by_name[<scalar>] == <word>"),
    Form("not data.lib.<lib>.flag"),
    Form("data.lib.<lib>.flag with input as <object>"),
    Form("some <k>\ndata.lib[<k>].by_name[<word>]"),
    Form("<x> := data.lib.<lib>\nnot <x>.holds"),
    Form(
        "<r>(<ancestor>) with data.lib.<lib>.has as <r2>",
        (
            "<r>(o) if data.lib.<lib>.has(o, <word>)",
            "<r2>(o, k) if object.get(o, k, <scalar>) == <scalar2>",
        ),
    ),
)
DEEP: Final = (
    Form("<r>", ("<r> if {\n<body>\n}",)),
    Form("not <r>", ("<r> if {\n<body>\n}",)),
    Form("not <r>", ("default <r> := false\n\n<r> if {\n<body>\n}",)),
    Form("count([1 | <body>]) == 0"),
    Form("every <x> in <many> {\n<body>\n<x> != <scalar>\n}"),
    Form("not <r>", ("<r> if {\n<x> := <ancestor>\n<body>\nnot <x>.<member>\n}",)),
    # Functions of what is read.
    Form(
        "<r>(<object>)",
        ('<r>(o) if {\nis_object(o)\nobject.get(o, "<member>", "none") == <scalar>\n<body>\n}',),
    ),
    Form("not <r>(<object>)", ("default <r>(_) := false\n\n<r>(o) if o.<member> == <scalar>",)),
    Form("<r>(<ancestor>) != <word>", ("<r>(o) := o.<member>\n\n<r>(o) := <word2> if not o.<member>",)),
    Form('<r>({"a": <ancestor>})', ("<r>(o) if {\nnot o.a.<member>\n<body>\n}",)),
    Form("<r>(<ancestor>, <word>)", ("<r>(o, <word>) if is_object(o)\n\n<r>(o, n) if o[n]",)),
    # Replacements.
    Form("<r> with input.agent.id as <word>", ("<r> if {\n<body>\n}",)),
    Form("not <r> with input.agent.claims.role as <scalar>", ("<r> if {\n<body>\n}",)),
    Form('<r> with input.action as {"id": <word>, "tool": <scalar>}', ("<r> if {\n<body>\n}",)),
    Form('not <r> with input as {"agent": {"id": <word>}}', ("<r> if {\n<body>\n}",)),
    Form("<r> with input as <object>", ("<r> if {\n<body>\nnot input.<member>\n}",)),
    Form("<r> with input.nowhere.at as <object>", ("<r> if {\n<body>\n}",)),
    Form("not <r> with data.lists.some as <many>", ("<r> if {\n<body>\n}",)),
    Form(
        "<r> with count as <r2>", ("<r> if count(<many>) > 1", "<r2>(o) := 2 if {\no != <scalar>\n<body>\n}")
    ),
    # Sets, objects, chains.
    Form("<word> in <r>", ("<r> contains x if {\nsome x in <many>\nnot x == <scalar>\n}",)),
    Form("not <r>[<word>]", ("<r> contains x if {\nsome x in <many>\n<body>\n}",)),
    Form("<r>[<word>]", ("<r>[k] := v if some k, v in <many>",)),
    Form("count(<r>) == 0", ("<r>[k] := v if {\nsome k, v in <many>\nnot v == <scalar>\n}",)),
    Form("not <r>.deep[<scalar>].b", ("<r>.deep[k].b := <scalar2> if some k in <many>",)),
    Form("<r>[<scalar>][<word>]", ("<r>[k] contains v if some k, v in <many>",)),
    Form("<r> == 1", ("<r> := 1 if {\n<body>\n} else := <scalar> if {\n<body2>\n}",)),
    Form("not <r>", ("<r> := 1 if {\n<body>\n} else := <scalar> if {\n<body2>\n}",)),
    Form(
        "<r> != <word>",
        ("default <r> := 9\n\n<r> := <scalar> if {\n<body>\n} else := <ancestor> if <scalar2>",),
    ),
    Form("<r> == <r2>", ("<r> := <scalar>", "<r2> := <scalar2> if {\n<body>\n}")),
)
SHALLOW: Final = (*PLAIN, *LOOPS, *INDIRECT, *DATA)
FORMS: Final = (*SHALLOW, *ACROSS, *DEEP)
