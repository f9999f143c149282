"""`deconv-atlas mine` as a job: ``ray job submit --working-dir . -- python -m jobs.mine …``."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["mine", *sys.argv[1:]])
