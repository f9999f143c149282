"""`deconv-atlas publish` as a job: ``ray job submit --working-dir . -- python -m jobs.publish …``."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["publish", *sys.argv[1:]])
