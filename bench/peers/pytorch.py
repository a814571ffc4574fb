"""Steps of PyTorch's optimizers, timed on request, so that they can take turns with ours.

Reads one JSON object a line and answers with one:

    {"make": "adamw fused", "sizes": [1000, 24]}   -> {"ok": true}, or {"reason": "..."} where it cannot be made
    {"time": 10}                                   -> {"seconds": 1.2e-5}   a step of what was made last
    {"drop": true}                                 -> {"ok": true}          frees it

Arguments: --device cpu or cuda, where the device's own clock is read; --threads N on the processor; --authors FILE with
the path of vradam.py from github.com/pranavjv/vradam.
"""

import argparse
import gc
import importlib.util
import json
import sys
import time

import torch


def load_authors(path):
    spec = importlib.util.spec_from_file_location("authors_vradam", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch.compile looks there
    spec.loader.exec_module(module)
    return module.VRADAM


def step_of(optimizer):
    return optimizer.step


def compiled_step_of(optimizer):
    # The authors' step brings each norm to the host, which breaks the graph; what is between is compiled.
    torch._dynamo.config.cache_size_limit = 64
    return torch.compile(optimizer.step, dynamic=False)


def make(sizes, device, optimizer_of, step):
    tensors = []
    for size in sizes:
        tensor = torch.nn.Parameter(torch.randn(size, device=device))
        tensor.grad = torch.randn(size, device=device).mul_(1e-2)
        tensors.append(tensor)
    return step(optimizer_of(tensors))


def time_on_processor(step, count):
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count


def time_on_device(step, count):
    begin = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(count):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / count


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", choices=["cpu", "cuda"], required=True)
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--authors")
    options = arguments.parse_args()
    on_device = options.device == "cuda"
    if on_device and not torch.cuda.is_available():
        print("this PyTorch sees no GPU", file=sys.stderr)
        sys.exit(1)
    if options.threads:
        torch.set_num_threads(options.threads)
    time_steps = time_on_device if on_device else time_on_processor

    adamw = {"lr": 1e-6, "weight_decay": 1e-2}
    contenders = {
        "adamw fused": (lambda tensors: torch.optim.AdamW(tensors, fused=True, **adamw), step_of),
        "adamw foreach": (lambda tensors: torch.optim.AdamW(tensors, foreach=True, **adamw), step_of),
    }
    if on_device:
        contenders["adamw compiled"] = (lambda tensors: torch.optim.AdamW(tensors, **adamw), compiled_step_of)
    if options.authors:
        vradam = load_authors(options.authors)
        contenders["authors' vradam"] = (lambda tensors: vradam(tensors, eta=1e-6), step_of)
        if on_device:
            contenders["authors' vradam compiled"] = (lambda tensors: vradam(tensors, eta=1e-6), compiled_step_of)
    print(json.dumps({"torch": torch.__version__, "contenders": list(contenders)}), flush=True)

    step = None
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            try:
                step = make(request["sizes"], options.device, *contenders[request["make"]])
                time_steps(step, 3)
                answer = {"ok": True}
            except Exception as error:  # of any kind: compiling calls other programs
                step = None
                answer = {"reason": (str(error) or type(error).__name__).splitlines()[0]}
        elif "time" in request:
            answer = {"seconds": time_steps(step, request["time"])}
        else:
            step = None
            answer = {"ok": True}
        if step is None:
            gc.collect()
            if on_device:
                torch.cuda.empty_cache()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
