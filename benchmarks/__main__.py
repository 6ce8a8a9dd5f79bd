"""The child process of `fresh.run`: measures one workload and prints one JSON line."""

import json
import sys

from benchmarks import fresh
from benchmarks.workload import Workload

if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(fresh.measure(**{**request, "workload": Workload(**request["workload"])})))
