"""`python -m zsbench`."""

from zsbench.cli import main

main()
