"""`deconv-atlas publish` on a cluster: ``ray job submit … -- python -m jobs.publish …``."""

import sys

from pipeline.cli.app import main

if __name__ == "__main__":
    main(["publish", *sys.argv[1:]])
