# The backbone is pulled back to its pre-trained weights, all of them alike (L2-SP).
_base_ = './custom_imports.py'

custom_hooks = [
    dict(type='DistortionRegularizerHook', importance='uniform', coeff=0.1, target='backbone')
]
