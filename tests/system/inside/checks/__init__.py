"""The promises, grouped by file."""

ALL = {}

# Of the end of the machine: names, and what leaves the machine so that they can be seen.
AT_THE_END = []


def check(body):
    """Marks a function as a check; its name says what it promises."""
    ALL[f"{body.__module__.removeprefix('checks.')}.{body.__name__}"] = body
    return body


def at_the_end(*promises):
    """Marks the one function that prepares the end of the machine. It gets a Machine and a
    directory; when the machine is off, a file there for each promise says that it was kept."""
    def mark(body):
        AT_THE_END.append((promises, body))
        return body
    return mark
