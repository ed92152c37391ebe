"""The flat-out server of the benchmarks, which `ptubench doctor` uses too: see `ptubench/sim/flat_out.py`.

python benchmarks/stub.py --cpu 1 --ttft 0.1 --tokens 100 --rate 50 --log stub.jsonl
"""

from ptubench.sim.flat_out import main

if __name__ == "__main__":
    main()
