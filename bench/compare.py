#!/usr/bin/env python3
"""Compare one training step on a block of a space with PyTorch on the same processor or GPU, both run in turn; medians of rounds.

    cmake -S . -B build -DBOSSKIT_BENCH=ON && cmake --build build
    PYTHON=/path/to/venv/bin/python bench/compare.py [--batch 64] [--rounds 5] [--blocks 0,1,2] [--out FILE]
    PYTHON=... bench/compare.py --space mbconv --size 112 --batch 32 --blocks 0,2,4 [--clock cpu]
    PYTHON=... bench/compare.py --backend cuda --batch 256 --rounds 20 --compile --explicit --out FILE

$PYTHON needs torch. Each block and type is measured for bosskit and for every PyTorch variant (memory format; on nats_ss explicit or
collapsed head; torch.compile with --compile); a row shows bosskit's time, the best variant and the ratio. Leave the machine alone
meanwhile, or take processor time (--clock cpu), with as many threads as there are free cores.
"""
import argparse
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class Side:
    def __init__(self, command, env=None):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                  env={**os.environ, **(env or {})})
        self.version = self.p.stdout.readline().strip()

    def ask(self, request):
        self.p.stdin.write(request + '\n')
        self.p.stdin.flush()
        answer = self.p.stdout.readline()
        if not answer:
            sys.exit(f'no answer to "{request}"')
        return [float(t) for t in answer.split()]


def main():
    a = argparse.ArgumentParser()
    a.add_argument('--space', default='nats_ss', choices=['nats_ss', 'mbconv'])
    a.add_argument('--size', help="pixels of the images (the space's own size)")
    a.add_argument('--clock', default='wall', choices=['wall', 'cpu'])
    a.add_argument('--batch', type=int, default=64)
    a.add_argument('--rounds', type=int, default=5)
    a.add_argument('--blocks', default='0,1,2')
    a.add_argument('--types', default='f32,bf16')
    a.add_argument('--threads', default=str(os.cpu_count()))
    a.add_argument('--compile', action='store_true')
    a.add_argument('--explicit', action='store_true', help='nats_ss: also the head as published, with the 2048-wide map materialised')
    a.add_argument('--build', default=os.path.join(HERE, '..', 'build'))
    a.add_argument('--backend', default='cpu', choices=['cpu', 'cuda'])
    a.add_argument('--out')
    o = a.parse_args()
    env = {'OMP_NUM_THREADS': o.threads, 'BOSSKIT_BENCH_BACKEND': o.backend}
    what = ['--space', o.space, '--clock', o.clock] + (['--size', o.size] if o.size else [])
    ours = Side([os.path.join(o.build, 'bench_step')] + what, env)
    theirs = Side([os.environ.get('PYTHON', sys.executable), os.path.join(HERE, 'torch_step.py')] + what, env)
    heads = ['plain'] if o.space != 'nats_ss' else ['explicit', 'collapsed'] if o.explicit else ['collapsed']
    variants = [(h, f, c) for h in heads
                for f in ('contiguous', 'channels_last') for c in (['eager', 'compile'] if o.compile else ['eager'])]
    lines = [f'Ours: {ours.version}', '', f'Peer: {theirs.version}; one step = 4 paths x 2 views, batch {o.batch}, medians of {o.rounds} rounds in turn, {o.clock} time.', '',
             '| block | type | bosskit s | PyTorch best s | ratio | best variant | all variants s |', '|---|---|---|---|---|---|---|']
    for dtype in o.types.split(','):
        for block in o.blocks.split(','):
            mine, times = [], {}
            for v in variants:
                mine += ours.ask(f'{block} {dtype} {o.rounds} {o.batch}')
                times[v] = statistics.median(theirs.ask(f'{block} {dtype} {v[0]} {v[1]} {v[2]} {o.rounds} {o.batch}'))
            best = min(times, key=times.get)
            m = statistics.median(mine)
            lines.append(f'| {block} | {dtype} | {m:.4f} | {times[best]:.4f} | {times[best] / m:.2f} | {" ".join(best)} | '
                         + ', '.join(f'{" ".join(v)} {t:.4f}' for v, t in times.items()) + ' |')
            print(lines[-1], flush=True)
    text = '\n'.join(lines) + '\n'
    print(text)
    if o.out:
        with open(o.out, 'w') as f:
            f.write(f'# Step on {o.space} on a {"GPU" if o.backend == "cuda" else "CPU"}\n\nMade by `bench/compare.py`.\n\n' + text)


if __name__ == '__main__':
    main()
