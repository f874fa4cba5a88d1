"""What second moments and their eigenvalues cost, against what one would write by hand.

    python benchmarks/eigenspectrum.py
    python benchmarks/eigenspectrum.py --device cuda --out figures.json

Accumulating against the plain float64 product of the same shapes, against numpy.cov on gathered
features (CPU only) and against the package delve where it is installed; memory; the eigenvalues of
all layers of an R50-FPN, which are a CPU's work on any device. All variants of a comparison
alternate in one process; a ratio is the median over rounds of neighbouring runs.
"""

import argparse
import resource
import statistics
import subprocess
import sys

import numpy as np
import torch
from common import alternate, build, clock, make_parser, ratio, report

from mmbackbone_plugins.lab.fitting import peak_bytes

# Channels and stride of an R50's stages and of FPN's finest level.
SHAPES = {'C2': (256, 4), 'C3': (512, 8), 'C4': (1024, 16), 'C5': (2048, 32), 'P3': (256, 8)}


def accumulation(shape: tuple[int, int], args) -> dict[str, float]:
    """One batch of one layer, in all the ways."""
    from mmbackbone_plugins.spectra import SecondMoment

    channels, side = shape[0], args.size // shape[1]
    torch.manual_seed(0)
    feature = torch.randn(args.batch, channels, side, side, device=args.device)
    ready = feature.double().transpose(0, 1).flatten(1).contiguous()
    moment = SecondMoment(channels)
    mask = torch.ones(args.batch, side, side, dtype=torch.bool, device=args.device)
    variants = {
        'update': lambda: moment.update(feature),
        'update, masked': lambda: moment.update(feature, mask),
        'product': lambda: ready @ ready.T,
        'convert and product': lambda: _convert_and_multiply(feature),
    }
    if args.device == 'cpu':
        gathered = feature.transpose(0, 1).flatten(1).numpy()
        variants['numpy.cov'] = lambda: np.cov(gathered, bias=True, dtype=np.float64)
        variants['gather and numpy.cov'] = lambda: _gather_and_cov(feature)
    variants.update(delve_variant(feature))
    seconds = alternate(variants, args.rounds, args.device)
    found = {'milliseconds of update': 1e3 * statistics.median(seconds['update'])}
    for name in variants:
        if name not in ('update', 'update, masked'):
            found[f'update over {name}'] = ratio(seconds, 'update', name)
    found['masked over product'] = ratio(seconds, 'update, masked', 'product')
    found['MB of update at its peak'] = peak_bytes(variants['update'], args.device) / 1e6
    found['MB of the features'] = feature.nbytes / 1e6
    return found


def _convert_and_multiply(feature: torch.Tensor) -> torch.Tensor:
    columns = feature.double().transpose(0, 1).flatten(1)
    return columns @ columns.T


def _gather_and_cov(feature: torch.Tensor) -> np.ndarray:
    columns = feature.transpose(0, 1).flatten(1).numpy()
    return np.cov(columns, bias=True, dtype=np.float64)


def delve_variant(feature: torch.Tensor) -> dict:
    """delve's streaming covariance of the same features: positions as samples, float64 too."""
    try:
        from delve.torch_utils import TorchCovarianceMatrix
    except ImportError:
        return {}
    theirs = TorchCovarianceMatrix(device=feature.device)

    def update() -> None:
        flat = feature.permute(0, 2, 3, 1).flatten(0, 2)
        theirs.update(flat, vae=False)

    return {'delve': update}


def peak(images: int, size: int) -> int:
    """Peak memory of this process, kB, after so many images."""
    from mmbackbone_plugins.spectra import SecondMoment

    moment = SecondMoment(512)
    feature = torch.randn(1, 512, size // 8, size // 8)
    for _ in range(images):
        moment.update(feature)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peaks(size: int, counts=(2, 200)) -> dict[str, int]:
    """Each in a process of its own, for a process never gives its peak back."""
    found = {}
    for count in counts:
        command = [sys.executable, __file__, '--peak', str(count), '--size', str(size)]
        found[f'{count} images, kB'] = int(subprocess.check_output(command).split()[-1])
    return found


def decomposition(args) -> dict[str, float]:
    """Seconds for the spectra of a real R50-FPN; the weights are random, the sizes matter."""
    from mmbackbone_plugins import spectra

    _, model, _ = build(args.device, 'faster-rcnn')
    batch = torch.randn(1, 3, args.size, args.size, device=args.device)
    roots = spectra.default_layers(model)
    found = {}
    for name, layers in (
        ('outputs of stages and neck', roots),
        ('every convolution, norm and ReLU', spectra.convolution_layers(model, roots)),
    ):
        for _ in range(2):  # the second is timed
            start = clock(args.device)
            moments = spectra.collect_moments(
                model, [batch], layers, forward=lambda b: model.extract_feat(b)
            )
        middle = clock(args.device)
        for moment in moments.values():
            spectra.summarize(moment)
        end = clock(args.device)
        found[f'{name}: layers'] = len(moments)
        found[f'{name}: seconds to collect one image'] = middle - start
        found[f'{name}: seconds of eigenvalues'] = end - middle
        found[f'{name}: MB of moments'] = sum(8 * m.num_channels**2 for m in moments.values()) / 1e6
    return found


def main() -> int:
    parser = make_parser(__doc__, rounds=11, size=512, amp=False)
    parser.add_argument('--peak', type=int, help=argparse.SUPPRESS)  # images; used by itself
    args = parser.parse_args()
    if args.peak:
        print(peak(args.peak, args.size))
        return 0
    figures = dict(
        accumulation={name: accumulation(shape, args) for name, shape in SHAPES.items()},
        **(dict(peak_memory=peaks(args.size)) if args.device == 'cpu' else {}),
        decomposition=decomposition(args),
    )
    if not any('update over delve' in found for found in figures['accumulation'].values()):
        figures['delve'] = 'not installed'
    report(args, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
