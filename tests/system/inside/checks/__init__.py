"""The promises, grouped by file."""

ALL = {}


def check(body):
    """Marks a function as a check; its name says what it promises."""
    ALL[body.__name__] = body
    return body
