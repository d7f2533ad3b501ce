#!/usr/bin/env python3
"""The PyTorch side of bench/compare.py: one training iteration of ensemble bootstrapping on one block of a space.

    torch_step.py [--space nats_ss|mbconv] [--size PIXELS] [--clock wall|cpu]

One step = 4 paths x 2 views: target forward of every path on both views (no gradient), then online forward, symmetric loss and
backward of every path, with the BossNAS head of the space (nats_ss: adapter of 2048 channels; both: projector and predictor). No
optimiser step on either side: it is the same few milliseconds in both.

Reads one request a line on stdin ("BLOCK DTYPE HEAD FORMAT COMPILE ROUNDS BATCH") and answers with the seconds of every round, so
that compare.py can let both sides run in turn. Paths are fixed. BOSSKIT_BENCH_BACKEND=cuda computes on the GPU.
"""
import argparse
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

DEVICE = 'cuda' if os.environ.get('BOSSKIT_BENCH_BACKEND') == 'cuda' else 'cpu'
HIDDEN, EMBED = 4096, 256


def mlp(inputs):
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EMBED))


# ---- NATS-SS: cells of slimmable convolutions; digits of the widths 8..64 ------------------------------------------

WIDTHS = [8, 16, 24, 32, 40, 48, 56, 64]


class SlimConv(nn.Module):
    def __init__(self, k, stride=1, inputs=64, affine=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(64, inputs, k, k))
        nn.init.kaiming_uniform_(self.weight, a=5 ** 0.5)
        self.stride, self.pad = stride, k // 2
        self.bn = nn.ModuleList([nn.BatchNorm2d(w) for w in WIDTHS]) if affine else None

    def forward(self, x, out):
        width = WIDTHS[out]
        y = F.conv2d(x, self.weight[:width, :x.shape[1]], None, self.stride, self.pad)
        return y if self.bn is None else self.bn[out](y)


class Normal(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.ModuleList([SlimConv(3) for _ in range(5)])
        self.skip = SlimConv(1)

    def forward(self, x, out):
        r = F.relu(x)
        n1 = F.relu(self.f[0](r, out))
        n2 = F.relu(self.f[1](r, out) + self.f[2](n1, out))
        skip = x if x.shape[1] == WIDTHS[out] else self.skip(r, out)
        return skip + self.f[3](n1, out) + self.f[4](n2, out)


class Reduction(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.short = SlimConv(3, 2), SlimConv(3), SlimConv(1, affine=False)

    def forward(self, x, out):
        y = self.b(F.relu(self.a(F.relu(x), out)), out)
        return self.short(F.avg_pool2d(x, 2, 2), out) + y


class NatsHead(nn.Module):
    """Adapter and projector of one block; `collapsed` takes the adapter's statistics from mean and covariance of its input."""

    def __init__(self, block, kind, pooled=2048):
        super().__init__()
        self.collapsed = kind == 'collapsed'
        self.conv = nn.ModuleList([nn.Conv2d(w, pooled, 1, bias=False) for w in WIDTHS])
        self.bn = nn.ModuleList([nn.BatchNorm2d(pooled) for _ in WIDTHS])
        self.mlp = mlp(pooled)

    def forward(self, x, path):
        conv, bn = self.conv[path[-1]], self.bn[path[-1]]
        if not self.collapsed:
            return self.mlp(F.adaptive_avg_pool2d(bn(conv(x)), 1).flatten(1))
        with torch.autocast(DEVICE, enabled=False):
            rows = x.float().permute(0, 2, 3, 1)
            m = rows.mean((1, 2))
            mu = m.mean(0)
            centred = (rows - mu).flatten(0, 2)
            w = conv.weight.flatten(1)
            var = ((w @ (centred.t() @ centred / centred.shape[0])) * w).sum(1)
            y = bn.weight * ((m - mu) @ w.t()) * torch.rsqrt(var + bn.eps) + bn.bias
        return self.mlp(y)


class Nats(nn.Module):
    SIZE, HEAD = 32, NatsHead
    PATHS = {0: [(7, 4), (2, 6), (5, 1), (0, 3)], 1: [(5, 7), (1, 2), (6, 0), (3, 4)], 2: [(6,), (1,), (4,), (3,)]}
    BEST = [(7, 4), (5, 7)]

    def __init__(self):
        super().__init__()
        self.stem = SlimConv(3, inputs=3)
        self.cell = nn.ModuleList([Normal(), Reduction(), Normal(), Reduction(), Normal()])

    def forward(self, x, block, path):
        if block == 0:
            x = self.stem(x, path[0])
        for i, op in enumerate(path):
            x = self.cell[2 * block + i](x, op)
        return x


# ---- MBConv: layers with four candidates, squeeze and excitation; digits of OPS ------------------------------------

BLOCK_WIDTHS, BLOCK_DEPTHS, BLOCK_STRIDES = (24, 40, 80, 112, 192), (2, 4, 4, 4, 4), (2, 2, 2, 1, 2)
OPS = ((6, 3), (6, 5), (3, 3), (3, 5))      # expansion, kernel


def silu(x):
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ConvNorm(nn.Module):
    def __init__(self, i, o, k=1, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, x):
        return self.bn(self.conv(x))


class Branch(nn.Module):
    def __init__(self, i, o, stride, expansion, k):
        super().__init__()
        e, squeeze = i * expansion, int(i / 4 + 0.5)
        self.expand = ConvNorm(i, e) if expansion > 1 else None
        self.depthwise = ConvNorm(e, e, k, stride, e)
        self.squeeze, self.excite = nn.Linear(e, squeeze), nn.Linear(squeeze, e)
        self.project = ConvNorm(e, o)

    def forward(self, x):
        if self.expand is not None:
            x = silu(self.expand(x))
        x = silu(self.depthwise(x))
        s = torch.sigmoid(self.excite(F.silu(self.squeeze(x.mean((2, 3))))))
        return self.project(x * s[:, :, None, None])


class Layer(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.op = nn.ModuleList([Branch(i, o, stride, *op) for op in OPS])
        self.skip = ConvNorm(i, o) if i != o else None
        self.stride = stride

    def forward(self, x, op):
        skip = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False) if self.stride == 2 else x
        return self.op[op](x) + (skip if self.skip is None else self.skip(skip))


class PlainHead(nn.Module):
    def __init__(self, block, kind):
        super().__init__()
        self.mlp = mlp(BLOCK_WIDTHS[block])

    def forward(self, x, path):
        return self.mlp(x.mean((2, 3)))


class MBConv(nn.Module):
    SIZE, HEAD = 112, PlainHead
    PATHS = {k: [(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)] for k in (1, 2, 3, 4)}
    PATHS[0] = [(0, 1), (1, 2), (2, 3), (3, 0)]
    BEST = [(1, 1), (0, 1, 1, 0), (0, 1, 1, 1), (1, 1, 0, 0)]

    def __init__(self):
        super().__init__()
        self.stem = nn.ModuleList([ConvNorm(3, 32, 3, 2), Branch(32, 16, 1, 1, 3)])
        self.block, i = nn.ModuleList(), 16
        for o, depth, stride in zip(BLOCK_WIDTHS, BLOCK_DEPTHS, BLOCK_STRIDES):
            self.block.append(nn.ModuleList([Layer(i if j == 0 else o, o, stride if j == 0 else 1) for j in range(depth)]))
            i = o

    def forward(self, x, block, path):
        if block == 0:
            x = self.stem[1](silu(self.stem[0](x)))
        for layer, op in zip(self.block[block], path):
            x = layer(x, op)
        return x


# ---- the step --------------------------------------------------------------------------------------------------------

SPACES = {'nats_ss': Nats, 'mbconv': MBConv}


def unit(v):
    return F.normalize(v.float(), dim=1, eps=1e-12)


class Step:
    def __init__(self, space, size, block, dtype, head, fmt, compiled, batch):
        torch.manual_seed(0)
        self.space, self.block, self.dtype, self.fmt = space, block, dtype, fmt
        self.online, self.target = space(), space()
        self.proj, self.tproj = space.HEAD(block, head), space.HEAD(block, head)
        self.pred = mlp(EMBED)
        self.modules = [self.online, self.target, self.proj, self.tproj, self.pred]
        for m in self.modules:
            m.to(DEVICE)
        if fmt == 'channels_last':
            for m in self.modules:
                m.to(memory_format=torch.channels_last)
        self.views = [torch.randn(batch, 3, size, size, device=DEVICE) for _ in range(2)]
        if fmt == 'channels_last':
            self.views = [v.to(memory_format=torch.channels_last) for v in self.views]
        self.embed = torch.compile(self.embed_) if compiled else self.embed_

    def embed_(self, net, head, x, path):
        return head(net(x, self.block, path), path)

    def prefix(self, net, x):
        for k in range(self.block):
            x = net(x, k, self.space.BEST[k])
        return x

    def run(self):
        paths = self.space.PATHS[self.block]
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.dtype == 'bf16'):
            with torch.no_grad():
                xt = [self.prefix(self.target, v) for v in self.views]
                xo = [self.prefix(self.online, v) for v in self.views]
                t = [sum(unit(self.embed(self.target, self.tproj, x, p)) for p in paths) / len(paths) for x in xt]
            for p in paths:
                for v in range(2):
                    z = self.pred(self.embed(self.online, self.proj, xo[v], p))
                    loss = -2 * (unit(z) * unit(t[1 - v])).sum(1).mean()
                    loss.backward()
        for m in self.modules:
            m.zero_grad(set_to_none=True)


def wait():
    if DEVICE == 'cuda':
        torch.cuda.synchronize()


def main():
    a = argparse.ArgumentParser()
    a.add_argument('--space', default='nats_ss', choices=list(SPACES))
    a.add_argument('--size', type=int)
    a.add_argument('--clock', default='wall', choices=['wall', 'cpu'])
    o = a.parse_args()
    space = SPACES[o.space]
    size = o.size or space.SIZE
    clock = time.process_time if o.clock == 'cpu' else time.perf_counter
    where = torch.cuda.get_device_name() if DEVICE == 'cuda' else f'threads {torch.get_num_threads()}'
    print('torch', torch.__version__, where, flush=True)
    steps = {}
    for line in sys.stdin:
        block, dtype, head, fmt, compiled, rounds, batch = line.split()
        key = (int(block), dtype, head, fmt, compiled == 'compile', int(batch))
        if key not in steps:
            steps.clear()
            steps[key] = Step(space, size, *key)
            steps[key].run()
            wait()
        times = []
        for _ in range(int(rounds)):
            t0 = clock()
            steps[key].run()
            wait()
            times.append(clock() - t0)
        print(' '.join(f'{t:.4f}' for t in times), flush=True)


if __name__ == '__main__':
    main()
