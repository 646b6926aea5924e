"""The `mina` command: thin, one file a command group."""


def main() -> None:
    """Run the command line; exits 0 ok, 1 found problems or not revealed, 2 usage, 3 store unreachable."""
    from .app import mina

    mina(prog_name="mina")
