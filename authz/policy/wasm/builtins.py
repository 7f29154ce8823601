"""The built-ins of OPA that its WebAssembly has, and what becomes of a call that has no value.

The table says for each the function that OPA's compiler calls, and one of four outcomes. It is not guessed:
a test (tests/policy/test_wasm_builtins.py) compiles every built-in that the pinned OPA knows, asks OPA in
strict mode and the engine the same questions over values of every type, and fails when the table says
otherwise. Whatever is not in it would have to be a function of the host's: publishing refuses it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct


class Outcome(Enum):
    """What no value means. TOTAL: it always has one, or is undefined in OPA, too. FAILS: it failed, which is
    an error in OPA. EMPTY: it failed, unless its argument is an empty collection: then it is undefined.
    DIFFERS: it may answer otherwise than OPA does, so that publishing refuses it.
    """

    TOTAL = "total"
    FAILS = "fails"
    EMPTY = "empty"
    DIFFERS = "differs"


class Builtin(Struct, frozen=True):
    """One built-in: its name in Rego, the function that is called for it."""

    name: str
    function: str
    outcome: Outcome


_TOTAL: Final = {
    "equal": "opa_cmp_eq",
    "gt": "opa_cmp_gt",
    "gte": "opa_cmp_gte",
    "internal.member_2": "builtin_member",
    "internal.member_3": "builtin_member3",
    "is_array": "opa_types_is_array",
    "is_boolean": "opa_types_is_boolean",
    "is_null": "opa_types_is_null",
    "is_number": "opa_types_is_number",
    "is_object": "opa_types_is_object",
    "is_set": "opa_types_is_set",
    "is_string": "opa_types_is_string",
    "json.marshal": "opa_json_marshal",
    "lt": "opa_cmp_lt",
    "lte": "opa_cmp_lte",
    "neq": "opa_cmp_neq",
    "regex.is_valid": "opa_regex_is_valid",
    "type_name": "opa_types_name",
    "walk": "opa_value_transitive_closure",
}
_FAILS: Final = {
    "abs": "opa_arith_abs",
    "and": "opa_set_intersection",
    "array.concat": "opa_array_concat",
    "array.flatten": "opa_array_flatten",
    "array.reverse": "opa_array_reverse",
    "array.slice": "opa_array_slice",
    "base64.encode": "opa_base64_encode",
    "base64url.encode": "opa_base64_url_encode",
    "bits.and": "opa_bits_and",
    "bits.negate": "opa_bits_negate",
    "bits.or": "opa_bits_or",
    "bits.xor": "opa_bits_xor",
    "ceil": "opa_arith_ceil",
    "concat": "opa_strings_concat",
    "contains": "opa_strings_contains",
    "count": "opa_agg_count",
    "endswith": "opa_strings_endswith",
    "floor": "opa_arith_floor",
    "glob.match": "opa_glob_match",
    "graph.reachable": "builtin_graph_reachable",
    "intersection": "opa_sets_intersection",
    "json.filter": "builtin_json_filter",
    "json.remove": "builtin_json_remove",
    "lower": "opa_strings_lower",
    "minus": "opa_arith_minus",
    "mul": "opa_arith_multiply",
    "net.cidr_contains": "opa_cidr_contains",
    "net.cidr_intersects": "opa_cidr_intersects",
    "numbers.range": "opa_numbers_range",
    "object.filter": "builtin_object_filter",
    "object.get": "builtin_object_get",
    "object.keys": "builtin_object_keys",
    "object.remove": "builtin_object_remove",
    "object.union": "builtin_object_union",
    "object.union_n": "builtin_object_union_n",
    "or": "opa_set_union",
    "plus": "opa_arith_plus",
    "product": "opa_agg_product",
    "regex.match": "opa_regex_match",
    "rem": "opa_arith_rem",
    "round": "opa_arith_round",
    "sort": "opa_agg_sort",
    "split": "opa_strings_split",
    "startswith": "opa_strings_startswith",
    "strings.reverse": "opa_strings_reverse",
    "substring": "opa_strings_substring",
    "sum": "opa_agg_sum",
    "to_number": "opa_to_number",
    "trim": "opa_strings_trim",
    "trim_left": "opa_strings_trim_left",
    "trim_prefix": "opa_strings_trim_prefix",
    "trim_right": "opa_strings_trim_right",
    "trim_space": "opa_strings_trim_space",
    "trim_suffix": "opa_strings_trim_suffix",
    "union": "opa_sets_union",
    "upper": "opa_strings_upper",
}
_EMPTY: Final = {
    "max": "opa_agg_max",
    "min": "opa_agg_min",
}
_DIFFERS: Final = {
    "base64.decode": "opa_base64_decode",
    "base64.is_valid": "opa_base64_is_valid",
    "base64url.decode": "opa_base64_url_decode",
    "bits.lsh": "opa_bits_shiftleft",
    "bits.rsh": "opa_bits_shiftright",
    "div": "opa_arith_divide",
    "format_int": "opa_strings_format_int",
    "indexof": "opa_strings_indexof",
    "internal.template_string": "opa_template_string",
    "json.is_valid": "opa_json_is_valid",
    "json.unmarshal": "opa_json_unmarshal",
    "regex.find_all_string_submatch_n": "opa_regex_find_all_string_submatch",
    "replace": "opa_strings_replace",
    "strings.replace_n": "opa_strings_replace_n",
}
BUILTINS: Final = {
    name: Builtin(name, function, outcome)
    for outcome, functions in (
        (Outcome.TOTAL, _TOTAL),
        (Outcome.FAILS, _FAILS),
        (Outcome.EMPTY, _EMPTY),
        (Outcome.DIFFERS, _DIFFERS),
    )
    for name, function in functions.items()
}
