# Every method of this repository in one run: decoder and blocks are probed for 6 epochs, then
# everything trains and the backbone is pulled back to its pre-trained weights; gradients, drift,
# spectra and cost are recorded from the first epoch on. The order of the entries does not matter.
_base_ = './custom_imports.py'

# A config that adds hooks of its own writes `custom_hooks = [*_base_.custom_hooks, dict(...)]`.
custom_hooks = [
    # What trains.
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=6),
        target='backbone',
    ),
    # What holds it.
    dict(type='DistortionRegularizerHook', importance='rgn', coeff=0.1, target='backbone'),
    # What watches it, without changing a bit.
    dict(type='RGNHook', target='backbone', interval=50),
    dict(type='DriftHook', target='backbone', interval=1),
    dict(type='EigenspectrumHook', interval=1, num_batches=100),
    dict(type='TrainingCostHook'),
]
