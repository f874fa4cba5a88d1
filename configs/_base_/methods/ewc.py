# The backbone is pulled back to its pre-trained weights, the more the larger a weight's mean
# absolute gradient was before the first step: what the authors' code calls EWC, with its `coeff`.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(type='DistortionRegularizerHook', importance='ewc', coeff=0.1, target='backbone')
]
