"""`python -m perago.cli`, as in 0.6: the same as `python -m perago`."""

from perago.cli import main

if __name__ == "__main__":
    main(by_module=True)
