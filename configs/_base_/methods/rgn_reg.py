# The backbone is pulled back to its pre-trained weights, the more the higher a kernel's relative
# gradient norm was before the first step. `coeff` is the authors' default.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(type='DistortionRegularizerHook', importance='rgn', coeff=0.1, target='backbone')
]
