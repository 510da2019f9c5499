"""Prints what one service needs, line by line for pip: `python requirements.py profile < pyproject.toml`.

So that a change of code does not install the dependencies anew: pip itself can read them only together with the code.
"""

import sys
import tomllib

project = tomllib.load(sys.stdin.buffer)["project"]
print(*project["dependencies"], *project["optional-dependencies"][sys.argv[1]], sep="\n")
