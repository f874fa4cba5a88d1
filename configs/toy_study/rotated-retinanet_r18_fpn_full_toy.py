# Everything trains: the baseline.
_base_ = './_base_/target.py'
