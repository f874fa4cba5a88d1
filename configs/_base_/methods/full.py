# Ordinary fine-tuning: no hook. A backbone's own `frozen_stages=1` (ResNet) still holds.
_base_ = './custom_imports.py'
