# Ordinary fine-tuning, watched: what the outputs of the backbone's stages and of the neck span,
# before the first step and after every epoch, over 100 images of the validation split. It does not
# change a bit of the training.
_base_ = './custom_imports.py'

custom_hooks = [dict(type='EigenspectrumHook', interval=1, num_batches=100)]
