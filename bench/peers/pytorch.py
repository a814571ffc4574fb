"""Steps of PyTorch's optimizers, timed on request, so that they can take turns with ours.

Reads one JSON object a line and answers with one:

    {"make": "adamw fused", "sizes": [1000, 24]}   -> {"ok": true}
    {"time": "adamw fused", "steps": 10}           -> {"seconds": 1.2e-5}   a step

Arguments: --threads N, and --authors FILE with the path of vradam.py from github.com/pranavjv/vradam.
"""

import argparse
import importlib.util
import json
import sys
import time

import torch


def load_authors(path):
    spec = importlib.util.spec_from_file_location("authors_vradam", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.VRADAM


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--authors")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)

    contenders = {
        "adamw fused": lambda tensors: torch.optim.AdamW(tensors, lr=1e-6, weight_decay=1e-2, fused=True),
        "adamw foreach": lambda tensors: torch.optim.AdamW(tensors, lr=1e-6, weight_decay=1e-2, foreach=True),
    }
    if options.authors:
        vradam = load_authors(options.authors)
        contenders["authors' vradam"] = lambda tensors: vradam(tensors, eta=1e-6)
    print(json.dumps({"torch": torch.__version__, "contenders": list(contenders)}), flush=True)

    made = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            tensors = []
            for size in request["sizes"]:
                tensor = torch.nn.Parameter(torch.randn(size))
                tensor.grad = torch.randn(size).mul_(1e-2)
                tensors.append(tensor)
            made[request["make"]] = contenders[request["make"]](tensors)
            answer = {"ok": True}
        else:
            optimizer = made[request["time"]]
            begin = time.perf_counter()
            for _ in range(request["steps"]):
                optimizer.step()
            answer = {"seconds": (time.perf_counter() - begin) / request["steps"]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
