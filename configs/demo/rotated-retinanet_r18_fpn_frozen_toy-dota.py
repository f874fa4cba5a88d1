# The backbone never trains. Its weights are random here, so this shows the worst that freezing can
# do; give it trained ones by `--cfg-options load_from=work_dirs/.../epoch_10.pth`.
_base_ = ['./_base_/rotated-retinanet_r18_fpn_toy-dota.py', '../_base_/methods/frozen.py']
