"""The stub behind TLS, which `ptubench doctor` uses too: see `ptubench/sim/flat_tls.py`.

python benchmarks/stub_tls.py --pem FILE --cpu 1 --ttft 0.1 --tokens 100 --rate 50
"""

from ptubench.sim.flat_tls import serve

if __name__ == "__main__":
    serve()
