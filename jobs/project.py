"""`deconv-atlas project` as a job: ``ray job submit --working-dir . -- python -m jobs.project …``."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["project", *sys.argv[1:]])
