# As dp_ft.py: added blocks train with neck and head while the backbone is frozen. The paper's
# authors do it in two runs, each with a whole schedule of its own; half of the epochs for each is
# our choice.
_base_ = './dp_ft.py'
