"""`deconv-atlas mine` on a cluster: ``ray job submit … -- python -m jobs.mine …``."""

import sys

from pipeline.cli.app import main

if __name__ == "__main__":
    main(["mine", *sys.argv[1:]])
