import pytest


@pytest.fixture
def figures(monkeypatch):
    """The figures, left open for a look."""
    plt = pytest.importorskip('matplotlib.pyplot')
    kept = []
    close = plt.close
    monkeypatch.setattr(plt, 'close', kept.append)
    yield kept
    for figure in kept:
        close(figure)
