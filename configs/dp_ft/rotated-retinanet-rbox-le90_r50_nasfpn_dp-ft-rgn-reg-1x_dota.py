_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_nasfpn_1x_dota.py',
    '../_base_/methods/dp_ft_rgn_reg.py',
]
