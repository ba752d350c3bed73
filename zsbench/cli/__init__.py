"""The command line."""


def main() -> None:
    """Entry point of the `zsbench` command, which imports nothing of it before it is called."""
    from zsbench.cli.program import begin

    begin()
