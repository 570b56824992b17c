"""Words that several verbs print."""


def counted(number: int, what: str) -> str:
    """Put a number before what it counts.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{number} {what}" + ("s" if number != 1 else "")
