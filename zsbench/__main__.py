"""`python -m zsbench`."""

from zsbench.cli.main import main

main()
