"""``python -m ganctl`` is ``ganctl``."""

from ganctl.cli import main

if __name__ == "__main__":
    main()
