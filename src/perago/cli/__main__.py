"""`python -m perago.cli`, as in 0.6. The same as `python -m perago`."""

from perago.cli.app import main

if __name__ == "__main__":
    main()
