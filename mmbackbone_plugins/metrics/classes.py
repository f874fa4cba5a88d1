"""Classes of DOTA-v1.0 and DIOR-R in the order of their labels, as in MMRotate."""

CLASSES: dict[str, tuple[str, ...]] = {
    'dota': (
        *('plane', 'baseball-diamond', 'bridge', 'ground-track-field', 'small-vehicle'),
        *('large-vehicle', 'ship', 'tennis-court', 'basketball-court', 'storage-tank'),
        *('soccer-ball-field', 'roundabout', 'harbor', 'swimming-pool', 'helicopter'),
    ),
    'dior': (
        *('airplane', 'airport', 'baseballfield', 'basketballcourt', 'bridge', 'chimney'),
        *('expressway-service-area', 'expressway-toll-station', 'dam', 'golffield'),
        *('groundtrackfield', 'harbor', 'overpass', 'ship', 'stadium', 'storagetank'),
        *('tenniscourt', 'trainstation', 'vehicle', 'windmill'),
    ),
}
