"""`python -m mina_pipeline` is the `mina` command."""

from .cli import main

if __name__ == "__main__":
    main()
