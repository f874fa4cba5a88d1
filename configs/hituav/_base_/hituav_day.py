# HIT-UAV by day.
_base_ = './hituav_night.py'

data_root = 'data/hituav_day/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
