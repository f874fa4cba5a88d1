"""What is given as a checkpoint and is none: one line that names the file and says what it is."""

import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmbackbone_plugins.distortion.anchor import tensors_of_checkpoint
from mmbackbone_plugins.distortion.importance_file import ImportanceFile
from mmbackbone_plugins.utils import checkpoints

STATE = {'conv.weight': torch.arange(6.0).view(2, 3), 'conv.bias': torch.ones(2)}


def saved(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def scripted():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    np.save(buffer, np.ones(2))
    return buffer.getvalue()


WHOLE = saved(STATE)
POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102\n'
NO_CHECKPOINTS = [
    (b'', 'is torn or damaged (it is empty)'),
    (WHOLE[: len(WHOLE) // 2], 'is torn or damaged'),
    (saved(STATE, _use_new_zipfile_serialization=False)[:60], 'cannot be read ('),
    (POINTER, 'is a pointer of Git LFS'),
    (b'/annex/objects/SHA256E-s102--4d7a.pth\n', 'is a pointer of git-annex'),
    (b'\n <!DOCTYPE html><html><body>Sign in</body></html>', 'is a web page'),
    (b'\xef\xbb\xbf<HTML></HTML>', 'is a web page'),
    (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "is a server's answer in XML"),
    (b'{"weight_map": {}}', 'is JSON'),
    (gzip.compress(WHOLE), 'is packed by gzip'),
    (array(), 'is a NumPy array'),
    (b'404: Not Found', "it begins with b'404: Not Found'"),
    (zipped(README='x', LICENSE='y'), 'is a zip archive of other files (README, LICENSE)'),
    (scripted(), 'is a TorchScript model'),
    (saved(torch.nn.Linear(2, 3)), 'holds a Linear, not weights'),
    (saved([1, 2]), 'holds a list, not weights'),
    (pickle.dumps(dict(a=1))[:-2], 'cannot be read ('),
]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('content, words', NO_CHECKPOINTS)
def test_other_files_are_one_line(content, words, tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        checkpoints.read(path)
    message = str(error.value)
    assert message.startswith(f"checkpoint '{path}' ") and words in message
    assert '\n' not in message
    with pytest.raises(ValueError, match='importance file .*x.pth'):
        ImportanceFile.load(path)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match='is a folder, not a checkpoint'):
        checkpoints.read(tmp_path, 'anchor')
    with pytest.raises(FileNotFoundError, match="^checkpoint '.*none.pth' does not exist$"):
        checkpoints.read(tmp_path / 'none.pth')
    (tmp_path / 'link.pth').symlink_to('gone.pth')
    with pytest.raises(FileNotFoundError, match="does not exist: it is a link to 'gone.pth'"):
        checkpoints.read(tmp_path / 'link.pth')
    assert checkpoints.defect('/dev/null') == 'is no file'


def test_damage_within(tmp_path):
    """Whatever bytes are wrong, it is a sentence and no traceback."""
    for at in range(0, len(WHOLE), 7):
        (tmp_path / 'x.pth').write_bytes(WHOLE[:at] + bytes([WHOLE[at] ^ 255]) + WHOLE[at + 1 :])
        why = checkpoints.defect(tmp_path / 'x.pth')
        assert why is None or '\n' not in why


def holds(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[n], STATE[n]) for n in STATE)


@pytest.mark.parametrize(
    'content',
    [
        STATE,
        dict(state_dict=STATE, meta=dict(epoch=3), extra=np.float64(3)),
        dict(model=STATE, optimizer=dict(state={})),
        dict(state_dict={f'module.{n}': t for n, t in STATE.items()}),
        dict(state_dict=STATE, model=dict(other=torch.ones(1))),
    ],
)
@pytest.mark.parametrize('new', [True, False])
def test_where_weights_are_found(content, new, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(content, path, _use_new_zipfile_serialization=new)
    checkpoints.check(path)
    assert holds(checkpoints.weights_of(checkpoints.read(path), 'x'))


def test_no_weights_in_it(tmp_path):
    with pytest.raises(ValueError, match="x has no weights .* it holds 'optimizer', 'epoch'"):
        checkpoints.weights_of(dict(optimizer={}, epoch=3), 'x')
    with pytest.raises(ValueError, match="under 'state_dict'.; it holds 'model'"):
        checkpoints.weights_of(dict(model=STATE), 'x', checkpoints.OWN)


def test_safetensors(tmp_path):
    save_file = pytest.importorskip('safetensors.torch').save_file
    path = tmp_path / 'x.safetensors'
    save_file(STATE, path)
    assert holds(checkpoints.read(path))
    assert holds(CheckpointLoader.load_checkpoint(str(path), map_location='cpu'))
    other = tmp_path / 'x.pth'
    other.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match='is a safetensors file: let its name end in'):
        checkpoints.read(other)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match='x.safetensors. cannot be read .SafetensorError'):
        checkpoints.read(path)
    path.write_bytes(POINTER)
    with pytest.raises(ValueError, match='is a pointer of Git LFS'):
        checkpoints.read(path)


def test_weights_under_another_prefix():
    names = ['backbone.conv.weight', 'backbone.conv.bias']
    found = {f'encoder.{name}': tensor for name, tensor in STATE.items()}
    with pytest.raises(ValueError, match="there as 'encoder.conv.weight' for 'conv.weight'"):
        tensors_of_checkpoint(found, names, 'backbone', 'anchor')
    assert set(tensors_of_checkpoint(STATE, names, 'backbone')) == set(names)
    assert checkpoints.other_prefix(STATE, ['head.conv.weight', 'head.other']) == ''
