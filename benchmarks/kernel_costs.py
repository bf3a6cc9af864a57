#!/usr/bin/env python3
"""What the hot GPU kernels need and move, as tables: derived, not measured in time.

usage: kernel_costs.py --build build/release [--icd LIBRARY]

Vulkan: spirv-dis shows what glslc made of the shaders. With the values that vk_matmul.c
and vk_attention.c give to their specialisation constants, the constant expressions in it
are computed: invocations and shared memory of a workgroup, and the numbers that arrays
of an invocation hold, which ask for registers. By shared memory and by invocations, so
many workgroups fit a processor of a GPU at once (--shared, --invocations).

OpenCL: Oclgrind counts what kernels load while erne-check runs one case of a known
shape, beside what there is to load. Inputs of products are loaded by many lanes at the
same address, which a GPU does once, so that their bytes are divided by these lanes.
"""
import argparse
import os
import pathlib
import re
import subprocess

F16, F32, ROWS, Q8, Q4 = range(5)       # of an attention's keys, as in vk_ops.h
W4 = 4                                  # enum erne_codec
# shader, what it is used for, specialisation constants in their order
SHADERS = [
    ("matmul", "w4, 1 token, GPU", [W4, 0, 8, 1, 1, 0]),
    ("matmul", "w4, 8 tokens, GPU", [W4, 0, 4, 0, 8, 0]),
    ("matmul_dot", "w4, 1 token, GPU", [W4, 0, 8, 1, 1, 0]),
    ("matmul_dot", "w4, 8 tokens, GPU", [W4, 0, 4, 0, 8, 0]),
    ("matmul_lanes", "w4, 1 token, 8 lanes", [W4, 0, 8, 1, 1, 0]),
    ("matmul_lanes", "w4, 8 tokens, 8 lanes", [W4, 0, 8, 1, 8, 0]),
    ("attention", "f16, d 128, 8 queries", [64, F16, 128, 8]),
    ("attention", "q8, d 128, 8 queries", [64, Q8, 128, 8]),
    ("attention", "q4, d 128, 8 queries", [64, Q4, 128, 8]),
    ("attention_lanes", "f16, d 128, 4 queries", [8, F16, 128, 4]),
    ("attention_lanes", "q4, d 128, 4 queries", [8, Q4, 128, 4]),
    ("kv_encode", "q4, d 128", [128, Q4, 128]),
]


def row_bytes(kind, d):
    return {"f16": 2 * d, "f32": 4 * d, "q8": d + 2, "q4": d // 2 + 2}[kind]


def attention_case(kind):
    """One query of 8 heads over 301 positions of one KV head of 80."""
    return ("attention", f"scalar/pages/{kind} T1 past300 H8/1 d80",
            f"`attention`, {kind}, 301 positions, 8 queries of 80",
            2 * 301 * row_bytes(kind, 80), 8 * 80 * 4, 1)


def matmul_case(tokens, n, k, lanes):
    """w4-g64: codes and one scale for 64 of them; lanes that share an input."""
    return ("matmul", f"scalar/tiles/w4-g64 T{tokens} N{n} K{k}",
            f"`matmul`, w4-g64, {tokens} x {k} by {n}",
            n * k // 2 + n * k // 64 * 2, tokens * k * 4, lanes)


# operator, case of erne-check, name, least bytes of weights or keys, of inputs, lanes
COUNTED = [matmul_case(1, 64, 64, 64), matmul_case(16, 64, 256, 16)]
COUNTED += [attention_case(kind) for kind in ("f16", "q8", "q4")]


class Module:
    """A SPIR-V module with values for its specialisation constants."""

    def __init__(self, path, constants):
        text = subprocess.run(["spirv-dis", "--raw-id", "--no-header", path], check=True,
                              capture_output=True, text=True).stdout
        self.lines = [line.split() for line in text.splitlines() if line.strip()]
        self.define = {line[0]: line[2:] for line in self.lines if line[1:2] == ["="]}
        self.spec = {line[1]: constants[int(line[3])] for line in self.lines
                     if line[0] == "OpDecorate" and line[2] == "SpecId"
                     and int(line[3]) < len(constants)}
        self.group = next((line[1] for line in self.lines if line[0] == "OpDecorate"
                           and line[2:] == ["BuiltIn", "WorkgroupSize"]), None)

    def value(self, name):
        """Of a constant: a number, a truth, or a list of them."""
        op, *rest = self.define[name]
        if name in self.spec:
            return self.spec[name]
        if op in ("OpConstant", "OpSpecConstant"):
            return int(rest[1]) if rest[1].lstrip("-").isdigit() else float(rest[1])
        if op in ("OpConstantTrue", "OpConstantFalse"):
            return op == "OpConstantTrue"
        if op in ("OpConstantComposite", "OpSpecConstantComposite"):
            return [self.value(part) for part in rest[1:]]
        if op != "OpSpecConstantOp":
            raise ValueError(f"{op} has no value")
        return self.expression(rest[1], rest[2:])

    def expression(self, op, args):
        if op == "CompositeExtract":
            return self.value(args[0])[int(args[1])]
        x = [self.value(arg) for arg in args]
        if op == "Select":
            return x[1] if x[0] else x[2]
        return {
            "IAdd": lambda: x[0] + x[1], "ISub": lambda: x[0] - x[1],
            "IMul": lambda: x[0] * x[1], "UDiv": lambda: x[0] // x[1],
            "SDiv": lambda: x[0] // x[1], "UMod": lambda: x[0] % x[1],
            "IEqual": lambda: x[0] == x[1], "INotEqual": lambda: x[0] != x[1],
            "UGreaterThanEqual": lambda: x[0] >= x[1], "ULessThan": lambda: x[0] < x[1],
            "LogicalOr": lambda: x[0] or x[1], "LogicalAnd": lambda: x[0] and x[1],
            "LogicalNot": lambda: not x[0], "LogicalEqual": lambda: x[0] == x[1],
            "LogicalNotEqual": lambda: x[0] != x[1],
        }[op]()

    def n_bytes(self, name):
        """Of a type."""
        op, *rest = self.define[name]
        if op in ("OpTypeInt", "OpTypeFloat"):
            return int(rest[0]) // 8
        if op in ("OpTypeVector", "OpTypeMatrix"):
            return self.n_bytes(rest[0]) * int(rest[1])
        if op == "OpTypeArray":
            return self.n_bytes(rest[0]) * self.value(rest[1])
        return 4  # a truth; structs of a few words stay out of this

    def variables(self, *storage, arrays=False):
        """Bytes of all variables of a storage class."""
        total = 0
        for op, *rest in self.define.values():
            if op != "OpVariable" or rest[1] not in storage:
                continue
            pointed = self.define[rest[0]][2]
            if not arrays or self.define[pointed][0] == "OpTypeArray":
                total += self.n_bytes(pointed)
        return total

    def invocations(self):
        n = 1
        for size in self.value(self.group):
            n *= size
        return n


def print_vulkan(args):
    print("| shader | used for | invocations | shared memory, bytes | array numbers, an "
          "invocation | workgroups at once |")
    print("|---|---|---|---|---|---|")
    for shader, use, constants in SHADERS:
        module = Module(args.build / "backends/vulkan" / f"{shader}.spv", constants)
        invocations, shared = module.invocations(), module.variables("Workgroup")
        own = module.variables("Function", "Private", arrays=True) // 4
        fit = args.invocations // invocations
        if shared > 0:
            fit = min(fit, args.shared // shared)
        print(f"| `{shader}` | {use} | {invocations} | {shared} | {own} | {fit} |")


def counted_loads(args, op, case):
    """Bytes of global memory that a kernel loads: single numbers, vectors of f32, vectors
    of codes, halves and the like."""
    env = dict(os.environ, OCL_ICD_VENDORS=args.icd, OCLGRIND_INST_COUNTS="1")
    text = subprocess.run([args.build / "tests/conformance/erne-check", "--backend",
                           "opencl:0", "--op", op, "--rounds", "1", "--filter", case],
                          env=env, check=True, capture_output=True, text=True).stdout
    block = re.search(rf"kernel '{op}':\n(.*?)\n\n", text, re.S)
    if not block:
        raise SystemExit(f"Oclgrind ran no kernel {op} for {case}")
    single = sum(int(n) for n in re.findall(r"load global \((\d+) bytes\)", block[1]))
    floats = others = 0
    for n, width, kind in re.findall(r"(\d+) - call _Z\d+vload(\d+)mPU3AS1K(\w)\(\)",
                                     block[1]):
        if kind == "f":
            floats += int(n) * int(width) * 4
        else:
            others += int(n) * int(width) * {"j": 4, "t": 2, "h": 1, "c": 1}[kind]
    return single, floats, others


def print_opencl(args):
    print("| kernel | weights, or keys and values: bytes loaded | least | inputs, or "
          "queries: bytes loaded | least |")
    print("|---|---|---|---|---|")
    for op, case, name, least, least_inputs, lanes in COUNTED:
        single, floats, others = counted_loads(args, op, case)
        if op == "matmul":  # single numbers are codes and scales
            single, others = floats // lanes, single + others
        print(f"| {name} | {others} | {least} | {single} | {least_inputs} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--icd", default="/usr/lib/oclgrind/liboclgrind-rt-icd.so")
    parser.add_argument("--shared", type=int, default=48 * 1024)
    parser.add_argument("--invocations", type=int, default=2048)
    args = parser.parse_args()
    print_vulkan(args)
    print()
    print_opencl(args)


if __name__ == "__main__":
    main()
