"""The same on a mocked n150, executed op by op by TT-NN: its allocator's own peaks. Stores JSON in lib/notebook/results.

python -m findings full_resolution_n150 [OPTION …]    as findings/full_resolution.py
"""

from findings.full_resolution import main

if __name__ == "__main__":
    main("full_resolution_n150", "n150-ttnn")
