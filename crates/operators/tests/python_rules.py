"""What CPython gives for the operations of expressions.

Not run by the tests: `python3 python_rules.py > python_rules.tsv` writes the
table that `python_rules.rs` reads. Where our rules differ from Python on
purpose (64 bits, null, JSON's spelling of booleans), the functions below say so.

The first row of each part names the operation and its right operands or
arguments, the others start with the left operand. `!` is a data error.
"""

import operator

INTS = [0, 1, -1, 2, -3, 7, 10, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 0.5, -2.5, 3.0, 1e16, 0.1, 1.7e308, -1e308, 5e-324,
          float("inf"), float("-inf"), float("nan"), 2.0**53, 2.0**63]
BIG = [2**63, 2**70, -(2**63) - 1]
TEXTS = ["", "a", "ab", "10", "é", "\uffff", "\U0001f600"]
VALUES = [None, True, False, *INTS, *FLOATS, *BIG, *TEXTS]

BINARY = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow, "==": operator.eq,
    "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC = ["+", "-", "*", "/", "//", "%", "**"]


def is_big(value):
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def binary(symbol, left, right):
    if symbol == "&":
        if left is None:
            return right if right is not None and not right else None
        return left and right
    if symbol == "|":
        if left is None:
            return right if right else None
        return left or right
    if left is None or right is None:
        return None  # null propagates
    if symbol not in ("==", "!=") and (is_big(left) or is_big(right)):
        raise TypeError  # an integer beyond 64 bits only passes through
    if symbol in ARITHMETIC:
        texts = isinstance(left, str) + isinstance(right, str)
        if texts and (symbol != "+" or texts == 1):
            raise TypeError  # no repetition and no formatting
        if symbol == "**" and isinstance(left, int) and isinstance(right, int):
            if right > 64 and abs(left) > 1:
                raise OverflowError
            if right > 64:
                right = 64 + right % 2
    result = BINARY[symbol](left, right)
    if isinstance(result, complex) or is_big(result):
        raise OverflowError
    return result


def unary(name, value):
    if value is None:
        return None
    if name == "not":
        return not value
    if is_big(value) or isinstance(value, str):
        raise TypeError
    return within(operator.neg(value) if name == "negate" else abs(value))


def within(value):
    if is_big(value):
        raise OverflowError
    return value


def cast(name, value):
    if value is None:
        return None
    if name == "str" and isinstance(value, bool):
        return str(value).lower()
    return {"int": int, "float": float, "str": str, "bool": bool}[name](value)


def rounded(digits, value):
    if value is None:
        return None
    if is_big(value):
        if digits < 0:
            raise TypeError
        return value
    return within(round(value, digits))


def show(compute, *arguments):
    try:
        value = compute(*arguments)
    except (ArithmeticError, TypeError, ValueError):
        return "!"
    return shown(value)


def shown(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value
    return repr(value)  # a float has a `.`, an `e`, or is inf or nan


def table(name, lefts, rights, compute):
    print("\t".join(["#" + name, *map(shown, rights)]))
    for left in lefts:
        print("\t".join([shown(left), *(show(compute, left, right) for right in rights)]))


for symbol in [*BINARY, "&", "|"]:
    table(symbol, VALUES, VALUES, lambda left, right: binary(symbol, left, right))
table("unary", VALUES, ["negate", "abs", "not"], lambda value, name: unary(name, value))
CASTS = [*VALUES, " 42 ", "-0", "1_000", "1__0", "_1", "+7", "4e2", ".5", "1e400", "nan",
         "-Infinity", "infinit", "9" * 30, "0x10", 1e22, -1.5, 1e-5, 123456789012345680.0,
         1e15, 0.0001, "\x1c5", "\u20035\x85", "1_0.5", "1_.5", "e5", "-", 12345678901234567890.0]
table("cast", CASTS, ["int", "float", "str", "bool"], lambda value, name: cast(name, value))
ROUNDED = [*VALUES[:-len(TEXTS)], 0.15, 0.25, 0.35, 2.675, 1.005, 1.5, 2.5, -0.5, 5.015,
           1234.5, 1250.0, 1350.0, 1250.5, 15, 25, -25, 99.5, 999.999, 9.5, 0.05, 1e22,
           8.5e307, 123456.789, 4.35, 450, 550]
table("round", ROUNDED, [0, 1, 2, 5, 16, 340, -1, -2, -3, -19, -308, -400],
      lambda value, digits: rounded(digits, value))
