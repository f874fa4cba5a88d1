_base_ = 'mmseg::_base_/datasets/loveda.py'

# In epochs, which DBF counts: 2,522 pictures, 158 steps of 4 GPUs with 4 each.
train_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=True))
