# Ordinary fine-tuning, watched: how hard the loss pulls each stage of the backbone (every 50
# steps), and how far it has moved (every epoch). Neither changes a bit of the training.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(type='RGNHook', target='backbone', interval=50),
    dict(type='DriftHook', target='backbone', interval=1),
]
