"""`python -m deploy.stack COMMAND`: the program behind the just recipes."""

from __future__ import annotations

import sys

from deploy import cli


def demo() -> bool:
    """Run `just demo`. Returns False if an outage went otherwise than expected."""
    from deploy.demo import scenarios  # imported here, since only this command needs it

    return scenarios.main()


if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:], demo=demo))
