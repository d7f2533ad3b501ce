#!/usr/bin/env python3
"""The PyTorch side of the NATS-SS step benchmark: one training iteration of ensemble bootstrapping on one block.

One step = 4 paths x 2 views: target forward of every path on both views (no gradient), then online forward, symmetric loss and
backward of every path, with the BossNAS head (adapter of `pooled` channels, projector, predictor). No optimiser step on either side:
it is the same few milliseconds in both.

Reads one request a line on stdin ("BLOCK DTYPE HEAD FORMAT COMPILE ROUNDS") and answers with the seconds of every round, so
that compare.py can let both sides run in turn. Paths are fixed: digits of the widths 8..64. BOSSKIT_BENCH_BACKEND=cuda computes on the GPU.
"""
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

DEVICE = 'cuda' if os.environ.get('BOSSKIT_BENCH_BACKEND') == 'cuda' else 'cpu'
WIDTHS = [8, 16, 24, 32, 40, 48, 56, 64]
PATHS = {0: [(7, 4), (2, 6), (5, 1), (0, 3)], 1: [(5, 7), (1, 2), (6, 0), (3, 4)], 2: [(6,), (1,), (4,), (3,)]}
BEST = [(7, 4), (5, 7)]


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


class Supernet(nn.Module):
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


class Head(nn.Module):
    """Adapter and projector of one block; `collapsed` takes the adapter's statistics from mean and covariance of its input."""

    def __init__(self, collapsed, pooled=2048, hidden=4096, out=256):
        super().__init__()
        self.collapsed = collapsed
        self.conv = nn.ModuleList([nn.Conv2d(w, pooled, 1, bias=False) for w in WIDTHS])
        self.bn = nn.ModuleList([nn.BatchNorm2d(pooled) for _ in WIDTHS])
        self.mlp = nn.Sequential(nn.Linear(pooled, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, x, op):
        conv, bn = self.conv[op], self.bn[op]
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


def unit(v):
    return F.normalize(v.float(), dim=1, eps=1e-12)


class Step:
    def __init__(self, block, dtype, head, fmt, compiled, batch):
        torch.manual_seed(0)
        self.block, self.dtype, self.fmt = block, dtype, fmt
        self.online, self.target = Supernet(), Supernet()
        self.proj, self.tproj = Head(head == 'collapsed'), Head(head == 'collapsed')
        self.pred = nn.Sequential(nn.Linear(256, 4096), nn.BatchNorm1d(4096), nn.ReLU(), nn.Linear(4096, 256))
        self.modules = [self.online, self.target, self.proj, self.tproj, self.pred]
        for m in self.modules:
            m.to(DEVICE)
        if fmt == 'channels_last':
            for m in self.modules:
                m.to(memory_format=torch.channels_last)
        self.views = [torch.randn(batch, 3, 32, 32, device=DEVICE) for _ in range(2)]
        if fmt == 'channels_last':
            self.views = [v.to(memory_format=torch.channels_last) for v in self.views]
        self.embed = torch.compile(self.embed_) if compiled else self.embed_

    def embed_(self, net, head, x, path):
        return head(net(x, self.block, path), path[-1])

    def prefix(self, net, x):
        for k in range(self.block):
            x = net(x, k, BEST[k])
        return x

    def run(self):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.dtype == 'bf16'):
            with torch.no_grad():
                xt = [self.prefix(self.target, v) for v in self.views]
                xo = [self.prefix(self.online, v) for v in self.views]
                t = [sum(unit(self.embed(self.target, self.tproj, x, p)) for p in PATHS[self.block]) / 4 for x in xt]
            for p in PATHS[self.block]:
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
    where = torch.cuda.get_device_name() if DEVICE == 'cuda' else f'threads {torch.get_num_threads()}'
    print('torch', torch.__version__, where, flush=True)
    steps = {}
    for line in sys.stdin:
        block, dtype, head, fmt, compiled, rounds, batch = line.split()
        key = (int(block), dtype, head, fmt, compiled == 'compile', int(batch))
        if key not in steps:
            steps.clear()
            steps[key] = Step(*key)
            steps[key].run()
            wait()
        times = []
        for _ in range(int(rounds)):
            t0 = time.perf_counter()
            steps[key].run()
            wait()
            times.append(time.perf_counter() - t0)
        print(' '.join(f'{t:.4f}' for t in times), flush=True)


if __name__ == '__main__':
    main()
